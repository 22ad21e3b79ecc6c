"""Distillation from a frozen trained copy of the student: Tf-KD (self), and DR-KD, which rectifies that copy first."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import KDLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import Alpha, Scale, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.targets import rectify_logits
from limbeck.validation import Settings


class SelfKDSettings(Settings):
    """Settings of ``tf_kd_self`` and ``dr_kd``."""

    temperature: Temperature = 6.0
    alpha: Alpha = 0.95
    scale: Annotated[
        Scale, Field(description="'paper' sums the KL over classes, 'code' averages it and applies multiplier")
    ] = "paper"
    multiplier: Annotated[Weight, Field(description="factor of the KL under scale 'code'")] = 50.0


class NoSettings(Settings):
    """Nothing to set."""


def _matching(settings: SelfKDSettings) -> Matching:
    by_code = settings.scale == "code"
    loss = partial(KDLoss, temperature=settings.temperature, reduction="mean" if by_code else "batchmean")
    weight = settings.alpha * (settings.multiplier if by_code else 1.0)
    return Matching(1 - settings.alpha, (Term("kd", weight, loss),), replaceable=True)


def _tf_kd_self(settings: SelfKDSettings) -> Parts:
    return Parts(matching=_matching(settings), teacher="self")


def _dr_kd(settings: SelfKDSettings) -> Parts:
    return Parts(matching=_matching(settings), targets=(rectify_logits,), teacher="self")


def _rectify(_: NoSettings) -> Parts:
    return Parts(targets=(rectify_logits,), teacher="any")


_RELEASED = (
    "The released code averages the KL over classes too and multiplies it by a number per model (scale: code). It used"
    " alpha, T, multiplier: MobileNetV2 and ShuffleNetV2 .95, 20, 1; ResNet-18 .95, 6, 50; GoogLeNet .40, 20, 50;"
    " DenseNet-121 .90, 20, 50; ResNeXt29 .90, 20, 100. The defaults here are ResNet-18's, with the KL summed over"
    " classes (scale: paper)."
)
ENTRIES = (
    Entry(
        "dr_kd",
        SelfKDSettings,
        _dr_kd,
        Card(
            summary="Learn from a trained copy of oneself whose wrong answers are rectified; no big teacher needed.",
            citation="Amik et al., Dynamic Rectification Knowledge Distillation, arXiv 2201.11319, 2022",
            equation=(
                "L = (1 - a) CE + a T^2 KL(softmax(z' / T) || softmax(z^s / T)), z' = z^t with the logits of the"
                " predicted and the true class exchanged where the prediction is wrong"
            ),
            published=("Tiny-ImageNet: up to +2.65 points over the baseline",),
            differences=(_RELEASED, "The authors report the best epoch on the test split; limbeck reports the last."),
        ),
    ),
    Entry(
        "tf_kd_self",
        SelfKDSettings,
        _tf_kd_self,
        Card(
            summary="Learn from a trained copy of oneself.",
            citation="Yuan et al., Revisiting Knowledge Distillation via Label Smoothing Regularization, CVPR 2020",
            equation="L = (1 - a) CE + a T^2 KL(softmax(z^t / T) || softmax(z^s / T)), z^t of a frozen trained copy",
            published=(
                "CIFAR-100: MobileNetV2 68.38 -> 70.96, ShuffleNetV2 70.34 -> 72.23, ResNet-18 75.87 -> 77.10",
                "CIFAR-100: GoogLeNet 78.72 -> 80.17, DenseNet-121 79.04 -> 80.26, ResNeXt29 81.03 -> 82.08",
            ),
            differences=(_RELEASED,),
        ),
    ),
    Entry(
        "rectify",
        NoSettings,
        _rectify,
        Card(
            summary="Target: exchange the teacher's wrong first choice with the true class (DR-KD), for any loss.",
            citation="Amik et al., arXiv 2201.11319",
            equation="z' = z^t with entries argmax z^t and y exchanged where they differ",
        ),
        component=True,
    ),
)
