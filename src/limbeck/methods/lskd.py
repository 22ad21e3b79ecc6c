"""Logit standardization (LSKD) as a method."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import MIN_SPREAD, KDLoss
from limbeck.methods.card import builtin
from limbeck.methods.fields import LabelWeight, MinSpread, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.modifiers import StandardizeLogits
from limbeck.validation import Settings


class LSKDSettings(Settings):
    """Settings of ``lskd``."""

    temperature: Temperature = 2.0
    kd_weight: Annotated[Weight, Field(description="weight of the KL")] = 9.0
    min_spread: MinSpread = MIN_SPREAD
    ce_weight: LabelWeight = 1.0


def _lskd(settings: LSKDSettings) -> Parts:
    term = Term("kd", settings.kd_weight, partial(KDLoss, temperature=settings.temperature))
    matching = Matching(settings.ce_weight, (term,), replaceable=True)
    return Parts(
        matching=matching, modifiers=(partial(StandardizeLogits, min_spread=settings.min_spread),), teacher="any"
    )


ENTRIES = (builtin("lskd", LSKDSettings, _lskd),)
