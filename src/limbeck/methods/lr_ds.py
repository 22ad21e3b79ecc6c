"""Label revision (LR) and data selection (DS): correct a wrong teacher, and decide which samples it supervises."""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from limbeck.errors import UserError
from limbeck.losses import KDLoss, LabelRevisionLoss
from limbeck.methods.card import builtin
from limbeck.methods.fields import Eta, LabelWeight, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.selection import SCORERS, Selection
from limbeck.selection.settings import DivideBy
from limbeck.targets import revise_logits
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


class SelectSettings(Settings):
    """Settings of ``select``."""

    scorer: Annotated[str, Field(description="one of " + ", ".join(SCORERS))] = "influence"
    ratio: Annotated[float, Field(gt=0, le=1, description="share of the samples that the teacher supervises")] = 0.8
    per_class: Annotated[bool, Field(description="rank within each class instead of over all samples")] = True
    holdout: Annotated[
        float, Field(gt=0, lt=1, description="share of the training set that influence is measured on")
    ] = 0.1
    damping: Annotated[
        float | None, Field(gt=0, description="precondition influence by the head's Fisher matrix with this damping")
    ] = None
    refresh_every: Annotated[int | None, Field(ge=1, description="score anew every so many epochs")] = None
    former_keys = {"scout_epochs": "proxy_epochs"}  # noqa: RUF012 - a constant

    proxy_epochs: Annotated[
        int, Field(ge=1, description="epochs of plain training of the copy of the student that is scored")
    ] = 2
    divide_by: Annotated[
        DivideBy,
        Field(description="'all': a selection lowers the teacher's total weight; 'selected': it only moves it"),
    ] = "all"
    shuffled: Annotated[
        bool, Field(description="the control: the scorer's weights permuted over the rows, within a class if per_class")
    ] = False


class LRDSSettings(LRSettings, SelectSettings):
    """Settings of ``lr_ds``."""


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


def _selection(settings: SelectSettings) -> Selection:
    return Selection(**settings.model_dump(include=set(SelectSettings.model_fields)))


def _select(settings: SelectSettings) -> Parts:
    return Parts(selection=_selection(settings), teacher="any")


def _lr_ds(settings: LRDSSettings) -> Parts:
    if settings.loss == "port":
        raise UserError("loss: got 'port', expected 'kd' with a selection (unselected samples would have no loss)")
    parts = _lr(settings)
    return Parts(matching=parts.matching, targets=parts.targets, selection=_selection(settings), teacher=parts.teacher)


ENTRIES = (
    builtin("lr", LRSettings, _lr),
    builtin("lr_ds", LRDSSettings, _lr_ds),
    builtin("revise", ReviseSettings, _revise, component=True),
    builtin("select", SelectSettings, _select, component=True),
)
