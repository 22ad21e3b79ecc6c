"""Tf-KD (reg): a virtual teacher that is right every time."""

from functools import partial
from typing import Annotated

from pydantic import Field
from torch import Tensor

from limbeck.losses import KDLoss
from limbeck.methods.card import Card, Entry
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


ENTRIES = (
    Entry(
        "tf_kd_reg",
        TfKDRegSettings,
        _tf_kd_reg,
        Card(
            summary="Learn from a virtual teacher: a hand-made distribution that is right every time.",
            citation="Yuan et al., Revisiting Knowledge Distillation via Label Smoothing Regularization, CVPR 2020",
            equation=(
                "L = (1 - a) CE + a T^2 KL(softmax(log p^d / T) || softmax(z^s / T)), p^d = .99 on the true class and"
                " .01 / (C - 1) on each other"
            ),
            published=("CIFAR-100: MobileNetV2 68.38 -> 70.88, ShuffleNetV2 70.34 -> 72.09, ResNet-18 75.87 -> 77.36",),
            differences=(
                "The released code (scale: code) takes a softmax of the virtual probabilities over T again, puts no"
                " temperature on the student, no T^2, and averages the KL over classes times multiplier (100).",
                "It sets T, a and multiplier by network: 20, .1 and 100 for ResNet-18, which are the defaults here;"
                " MobileNetV2's figure was reached with 40, .95 and 1, ShuffleNetV2's with 10, .95 and 1.",
            ),
            ours=("The factor T^2 under scale: paper, as in Hinton's KD; the paper's equation shows none.",),
        ),
    ),
)
