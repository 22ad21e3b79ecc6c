"""Hinton's knowledge distillation as a method."""

from functools import partial

from limbeck.losses import KDLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import Alpha, Temperature
from limbeck.methods.method import Matching, Parts, Term
from limbeck.validation import Settings


class KDSettings(Settings):
    """Settings of ``kd``."""

    temperature: Temperature = 4.0
    alpha: Alpha = 0.9


def _kd(settings: KDSettings) -> Parts:
    term = Term("kd", settings.alpha, partial(KDLoss, temperature=settings.temperature))
    return Parts(matching=Matching(1 - settings.alpha, (term,)), teacher="any")


ENTRIES = (
    Entry(
        "kd",
        KDSettings,
        _kd,
        Card(
            summary="Match the teacher's softened distribution.",
            citation="Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, arXiv 1503.02531",
            equation="L = (1 - a) CE + a T^2 KL(softmax(z^t / T) || softmax(z^s / T)), mean over rows",
            published=(
                "CIFAR-100, resnet56 -> resnet20: 69.06 alone, 70.66 KD (a re-run of others: 71.74)",
                "CIFAR-100, resnet32x4 -> resnet8x4: 72.50 alone, 73.33 KD (74.75)",
                "ImageNet, ResNet-34 -> ResNet-18: 69.76 alone, 70.7 to 71.8 KD",
            ),
            differences=("Defaults are those of the CIFAR KD benchmark: a = .9, T = 4.",),
            cautions=(
                "A teacher whose logits spread little, by about 1 along a row, is all but uniform at T = 4, and a = .9"
                " leaves the labels a tenth: the student may end below one without a teacher. Lower T and a, or use"
                " lskd+kd or dist, which do not depend on that spread.",
            ),
        ),
    ),
)
