"""Methods that are a modifier in front of KD: logit standardization (LSKD) and moving temperatures (DTS, CTKD)."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Self

from pydantic import Field, model_validator
from torch import nn

from limbeck.errors import UserError
from limbeck.losses import MIN_SPREAD, KDLoss
from limbeck.losses.both_sides import BothSidesKDLoss
from limbeck.methods.card import builtin
from limbeck.methods.fields import Alpha, LabelWeight, MinSpread, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.modifiers import LearnedTemperature, Modifier, ScheduledTemperature, StandardizeLogits
from limbeck.validation import Settings

_Positive = Annotated[float, Field(gt=0)]


class LSKDSettings(Settings):
    """Settings of ``lskd``."""

    temperature: Temperature = 2.0
    kd_weight: Annotated[Weight, Field(description="weight of the KL")] = 9.0
    min_spread: MinSpread = MIN_SPREAD
    ce_weight: LabelWeight = 1.0


class DTSSettings(Settings):
    """Settings of ``dts``."""

    alpha: Alpha = 0.9
    initial: Annotated[_Positive, Field(description="temperature at the start")] = 8.0
    minimum: Annotated[_Positive, Field(description="lowest temperature aimed at")] = 4.0
    maximum: Annotated[_Positive, Field(description="highest temperature aimed at")] = 8.0
    curve: Annotated[float, Field(gt=0, le=1, description="how far along the cosine the last epoch is")] = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1, description="share of the old temperature kept at each batch")] = 0.9

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.minimum <= self.initial <= self.maximum:
            expected = f"expected it from minimum {self.minimum} to maximum {self.maximum}"
            raise UserError(f"initial: got {self.initial}, {expected}")
        return self


class CTKDSettings(Settings):
    """Settings of ``ctkd``."""

    alpha: Alpha = 0.9
    start: Annotated[float, Field(gt=0, description="the temperature that is never gone below")] = 1.0
    span: Annotated[float, Field(gt=0, description="by how much the temperature can exceed it")] = 20.0
    curriculum: Annotated[
        float, Field(gt=0, le=1, description="share of the training over which the reversed gradient grows to full")
    ] = 10 / 240


def _parts(ce_weight: float, term: Term, modifier: Callable[[], Modifier]) -> Parts:
    return Parts(matching=Matching(ce_weight, (term,), replaceable=True), modifiers=(modifier,), teacher="any")


def _mixed(alpha: float, loss: Callable[..., nn.Module], modifier: Callable[[], Modifier]) -> Parts:
    return _parts(1 - alpha, Term("kd", alpha, loss, full_weight=1.0), modifier)


def _lskd(settings: LSKDSettings) -> Parts:
    modifier = partial(StandardizeLogits, min_spread=settings.min_spread)
    term = Term("kd", settings.kd_weight, partial(KDLoss, temperature=settings.temperature))
    return _parts(settings.ce_weight, term, modifier)


def _dts(settings: DTSSettings) -> Parts:
    modifier = partial(ScheduledTemperature, **settings.model_dump(exclude={"alpha"}))
    return _mixed(settings.alpha, partial(KDLoss, temperature=1.0), modifier)


def _ctkd(settings: CTKDSettings) -> Parts:
    modifier = partial(LearnedTemperature, **settings.model_dump(exclude={"alpha"}))
    return _mixed(settings.alpha, BothSidesKDLoss, modifier)


ENTRIES = (
    builtin("lskd", LSKDSettings, _lskd),
    builtin("dts", DTSSettings, _dts, tempers=True),
    builtin("ctkd", CTKDSettings, _ctkd, tempers=True),
)
