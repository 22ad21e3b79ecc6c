"""Tf-KD (reg): a virtual teacher that is right every time."""

from functools import partial
from typing import Annotated

from pydantic import Field
from torch import Tensor

from limbeck.losses import KDLoss
from limbeck.methods.card import builtin
from limbeck.methods.fields import Alpha, Scale, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Target, Term
from limbeck.targets import virtual_logits, virtual_probabilities
from limbeck.validation import Settings


class TfKDRegSettings(Settings):
    """Settings of ``tf_kd_reg``."""

    temperature: Temperature = 20.0
    alpha: Alpha = 0.1
    correct: Annotated[float, Field(gt=0, lt=1, description="virtual probability of the true class")] = 0.99
    scale: Annotated[
        Scale, Field(description="'paper' softens both sides; 'code' as the released code, see differences")
    ] = "paper"
    multiplier: Annotated[Weight, Field(description="factor of the KL under scale 'code'")] = 100.0


def _virtual(logits: Tensor, labels: Tensor, *, correct: float) -> Tensor:
    return virtual_logits(labels, logits.shape[1], correct=correct)


def _virtual_softened_twice(logits: Tensor, labels: Tensor, *, correct: float, temperature: float) -> Tensor:
    return virtual_probabilities(labels, logits.shape[1], correct=correct) / temperature


def _by_paper(settings: TfKDRegSettings) -> tuple[Target, Term]:
    loss = partial(KDLoss, temperature=settings.temperature)
    return partial(_virtual, correct=settings.correct), Term("kd", settings.alpha, loss)


def _by_code(settings: TfKDRegSettings) -> tuple[Target, Term]:
    target = partial(_virtual_softened_twice, correct=settings.correct, temperature=settings.temperature)
    loss = partial(KDLoss, temperature=1.0, reduction="mean")
    return target, Term("kd", settings.alpha * settings.multiplier, loss)


def _tf_kd_reg(settings: TfKDRegSettings) -> Parts:
    target, term = _by_code(settings) if settings.scale == "code" else _by_paper(settings)
    return Parts(matching=Matching(1 - settings.alpha, (term,), replaceable=True), targets=(target,), teacher="virtual")


ENTRIES = (builtin("tf_kd_reg", TfKDRegSettings, _tf_kd_reg),)
