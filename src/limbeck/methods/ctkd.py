"""Curriculum temperature (CTKD) as a method."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses.both_sides import BothSidesKDLoss
from limbeck.methods.card import builtin
from limbeck.methods.fields import Alpha
from limbeck.methods.method import Matching, Parts, Term
from limbeck.modifiers import LearnedTemperature
from limbeck.validation import Settings


class CTKDSettings(Settings):
    """Settings of ``ctkd``."""

    alpha: Alpha = 0.9
    start: Annotated[float, Field(gt=0, description="the temperature that is never gone below")] = 1.0
    span: Annotated[float, Field(gt=0, description="by how much the temperature can exceed it")] = 20.0
    curriculum: Annotated[
        float, Field(gt=0, le=1, description="share of the training over which the reversed gradient grows to full")
    ] = 10 / 240


def _ctkd(settings: CTKDSettings) -> Parts:
    matching = Matching(1 - settings.alpha, (Term("kd", settings.alpha, BothSidesKDLoss),), replaceable=True)
    modifier = partial(LearnedTemperature, **settings.model_dump(exclude={"alpha"}))
    return Parts(matching=matching, modifiers=(modifier,), teacher="any")


ENTRIES = (builtin("ctkd", CTKDSettings, _ctkd, tempers=True),)
