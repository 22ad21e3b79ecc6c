"""Distillation from a frozen trained copy of the student: Tf-KD (self), and DR-KD, which rectifies that copy first."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import KDLoss
from limbeck.methods.card import builtin
from limbeck.methods.fields import Alpha, NoSettings, Scale, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.targets import rectify_logits
from limbeck.validation import Settings


class SelfKDSettings(Settings):
    """Settings of ``tf_kd_self`` and ``dr_kd``."""

    temperature: Temperature = 4.0
    alpha: Alpha = 0.5
    scale: Annotated[
        Scale, Field(description="'paper' sums the KL over classes, 'code' averages it and applies multiplier")
    ] = "paper"
    multiplier: Annotated[Weight, Field(description="factor of the KL under scale 'code'")] = 50.0


def _matching(settings: SelfKDSettings) -> Matching:
    by_code = settings.scale == "code"
    loss = partial(KDLoss, temperature=settings.temperature, reduction="mean" if by_code else "batchmean")
    factor = settings.multiplier if by_code else 1.0
    term = Term("kd", settings.alpha * factor, loss, full_weight=factor)
    return Matching(1 - settings.alpha, (term,), replaceable=True)


def _tf_kd_self(settings: SelfKDSettings) -> Parts:
    return Parts(matching=_matching(settings), teacher="self")


def _dr_kd(settings: SelfKDSettings) -> Parts:
    return Parts(matching=_matching(settings), targets=(rectify_logits,), teacher="self", corrects=True)


def _rectify(_: NoSettings) -> Parts:
    return Parts(targets=(rectify_logits,), teacher="any", corrects=True)


ENTRIES = (
    builtin("dr_kd", SelfKDSettings, _dr_kd),
    builtin("tf_kd_self", SelfKDSettings, _tf_kd_self),
    builtin("rectify", NoSettings, _rectify, component=True),
)
