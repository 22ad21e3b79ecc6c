"""The dynamic temperature scheduler (DTS) as a method."""

from functools import partial
from typing import Annotated, Self

from pydantic import Field, model_validator

from limbeck.errors import UserError
from limbeck.losses import KDLoss
from limbeck.methods.card import builtin
from limbeck.methods.fields import Alpha
from limbeck.methods.method import Matching, Parts, Term
from limbeck.modifiers import ScheduledTemperature
from limbeck.validation import Settings

_Positive = Annotated[float, Field(gt=0)]


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


def _dts(settings: DTSSettings) -> Parts:
    term = Term("kd", settings.alpha, partial(KDLoss, temperature=1.0))
    matching = Matching(1 - settings.alpha, (term,), replaceable=True)
    modifier = partial(ScheduledTemperature, **settings.model_dump(exclude={"alpha"}))
    return Parts(matching=matching, modifiers=(modifier,), teacher="any")


ENTRIES = (builtin("dts", DTSSettings, _dts, tempers=True),)
