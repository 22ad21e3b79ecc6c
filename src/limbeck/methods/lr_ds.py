"""Label revision (LR) and data selection (DS): correct a wrong teacher, and decide what it supervises, and how much."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from limbeck.errors import UserError
from limbeck.losses import KDLoss, LabelRevisionLoss
from limbeck.methods.card import builtin
from limbeck.methods.fields import AUTO, UNMEASURED, Eta, LabelWeight, MeasuredTemperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.selection import SCORERS, Selection, Weighing
from limbeck.targets import MaxConfidence, Taming, revise_logits
from limbeck.validation import Settings


class ReviseSettings(Settings):
    """Settings of ``revise``."""

    eta: Eta = 0.8


class LRSettings(ReviseSettings):
    """Settings of ``lr``."""

    temperature: MeasuredTemperature = UNMEASURED
    ce_weight: LabelWeight = 1.0
    kd_weight: Annotated[Weight, Field(description="weight of the KL to the revised teacher")] = 1.0
    loss: Annotated[
        Literal["kd", "port"], Field(description="'kd': CE + KL; 'port': squared errors, split by right and wrong rows")
    ] = "kd"
    lambda1: Annotated[Weight, Field(description="loss: port, weight of the logit error on right rows")] = 4.0
    lambda2: Annotated[Weight, Field(description="loss: port, weight of the probability error on wrong rows")] = 1.0


NO_SCORER = "none"


class LRDSSettings(LRSettings, Selection):
    """Settings of ``lr_ds``."""

    scorers = (*SCORERS, NO_SCORER)

    temperature: MeasuredTemperature = AUTO

    scorer: Annotated[
        str, Field(description="'none' weighs the teacher; otherwise samples are selected by " + ", ".join(SCORERS))
    ] = NO_SCORER
    max_confidence: Annotated[
        MaxConfidence, Field(description="without a scorer, that of tame; 1 leaves the teacher as it is")
    ] = 1.0
    by_row: Annotated[bool, Field(description="without a scorer, that of weigh")] = False


_OF_WEIGHT = ("max_confidence", "by_row")
_OF_SELECTION = tuple(key for key in Selection.model_fields if key not in ("scorer", "shuffled"))


def _revise(settings: ReviseSettings) -> Parts:
    return Parts(targets=(partial(revise_logits, eta=settings.eta),), teacher="any", corrects=True)


def _port(settings: LRSettings) -> Parts:
    loss = partial(LabelRevisionLoss, lambda1=settings.lambda1, lambda2=settings.lambda2, eta=settings.eta)
    # No part of it is softened.
    term = Term("label_revision", 1.0, loss, takes_temperature=True)
    return Parts(matching=Matching(0.0, (term,)), teacher="any")


def _lr(settings: LRSettings) -> Parts:
    if settings.loss == "port":
        return _port(settings)
    temperature = 1.0 if settings.temperature == AUTO else settings.temperature
    loss, measured = partial(KDLoss, temperature=temperature), settings.temperature == AUTO
    term = Term("kd", settings.kd_weight, loss, measured_temperature=measured)
    matching = Matching(settings.ce_weight, (term,), replaceable=True)
    return replace(_revise(settings), matching=matching)


def _select(settings: Selection) -> Parts:
    return Parts(selection=settings, teacher="any")


def _weigh(settings: Weighing) -> Parts:
    return Parts(weighing=settings, teacher="any")


def _lr_ds(settings: LRDSSettings) -> Parts:
    if settings.loss == "port":
        raise UserError("loss: got 'port', expected 'kd' with a selection (unselected samples would have no loss)")
    if settings.scorer != NO_SCORER:
        _check_default(settings, _OF_WEIGHT, f"with scorer {settings.scorer!r}, expected it without a scorer")
        return replace(_lr(settings), selection=settings)
    _check_default(settings, _OF_SELECTION, f"without a scorer, expected scorer beside it, one of {', '.join(SCORERS)}")
    if settings.shuffled and not settings.by_row:
        raise UserError("lr_ds.shuffled: got True without a scorer, expected by_row: true or a scorer beside it")
    weighing = Weighing(by_row=settings.by_row, shuffled=settings.shuffled)
    taming = None if settings.max_confidence == 1 else Taming(max_confidence=settings.max_confidence)
    return replace(_lr(settings), taming=taming, weighing=weighing)


def _check_default(settings: LRDSSettings, keys: Sequence[str], expected: str) -> None:
    """Refuse settings that would have no effect; defaults may stand there, as in the recipe of a run."""
    for key in keys:
        value = getattr(settings, key)
        if value != LRDSSettings.model_fields[key].default:
            raise UserError(f"lr_ds.{key}: got {value!r} {expected}")


ENTRIES = (
    builtin("lr", LRSettings, _lr, softens=True),
    builtin("lr_ds", LRDSSettings, _lr_ds, softens=True),
    builtin("revise", ReviseSettings, _revise, component=True),
    builtin("select", Selection, _select, component=True),
    builtin("weigh", Weighing, _weigh, component=True),
)
