"""Label revision (LR) and data selection (DS): correct a wrong teacher, and decide what it supervises, and how much."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from limbeck.errors import UserError
from limbeck.losses import KDLoss, LabelRevisionLoss
from limbeck.methods.card import builtin
from limbeck.methods.fields import Eta, LabelWeight, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.selection import Selection, Weighing
from limbeck.targets import MaxConfidence, Taming, revise_logits
from limbeck.validation import Settings


class ReviseSettings(Settings):
    """Settings of ``revise``."""

    eta: Eta = 0.8


class LRSettings(ReviseSettings):
    """Settings of ``lr``."""

    temperature: Temperature = 4.0
    ce_weight: LabelWeight = 1.0
    kd_weight: Annotated[Weight, Field(description="weight of the KL to the revised teacher")] = 1.0
    loss: Annotated[
        Literal["kd", "port"], Field(description="'kd': CE + KL; 'port': squared errors, split by right and wrong rows")
    ] = "kd"
    lambda1: Annotated[Weight, Field(description="loss: port, weight of the logit error on right rows")] = 4.0
    lambda2: Annotated[Weight, Field(description="loss: port, weight of the probability error on wrong rows")] = 1.0


class LRDSSettings(LRSettings, Selection):
    """Settings of ``lr_ds``."""

    form: Annotated[
        Literal["selection", "weight"],
        Field(description="'selection': the settings above; 'weight': tame and weigh in place of a selection"),
    ] = "selection"
    max_confidence: Annotated[
        MaxConfidence, Field(description="form: weight, that of tame; 1 leaves the teacher as it is")
    ] = 0.6
    by_row: Annotated[bool, Field(description="form: weight, that of weigh")] = False


def _revise(settings: ReviseSettings) -> Parts:
    return Parts(targets=(partial(revise_logits, eta=settings.eta),), teacher="any")


def _port(settings: LRSettings) -> Parts:
    loss = partial(LabelRevisionLoss, lambda1=settings.lambda1, lambda2=settings.lambda2, eta=settings.eta)
    # No part of it is softened.
    term = Term("label_revision", 1.0, loss, takes_temperature=True)
    return Parts(matching=Matching(0.0, (term,)), teacher="any")


def _lr(settings: LRSettings) -> Parts:
    if settings.loss == "port":
        return _port(settings)
    term = Term("kd", settings.kd_weight, partial(KDLoss, temperature=settings.temperature))
    matching = Matching(settings.ce_weight, (term,), replaceable=True)
    return Parts(matching=matching, targets=_revise(settings).targets, teacher="any")


def _select(settings: Selection) -> Parts:
    return Parts(selection=settings, teacher="any")


def _weigh(settings: Weighing) -> Parts:
    return Parts(weighing=settings, teacher="any")


def _lr_ds(settings: LRDSSettings) -> Parts:
    if settings.loss == "port":
        raise UserError("loss: got 'port', expected 'kd' with a selection (unselected samples would have no loss)")
    if settings.form == "selection":
        return replace(_lr(settings), selection=settings)
    weighing = Weighing(by_row=settings.by_row, shuffled=settings.shuffled)
    return replace(_lr(settings), taming=Taming(max_confidence=settings.max_confidence), weighing=weighing)


ENTRIES = (
    builtin("lr", LRSettings, _lr),
    builtin("lr_ds", LRDSSettings, _lr_ds),
    builtin("revise", ReviseSettings, _revise, component=True),
    builtin("select", Selection, _select, component=True),
    builtin("weigh", Weighing, _weigh, component=True),
)
