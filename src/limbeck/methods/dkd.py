"""DKD as a method."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import DKDLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import Temperature, Warmup, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.validation import Settings


class DKDSettings(Settings):
    """Settings of ``dkd``."""

    temperature: Temperature = 4.0
    alpha: Annotated[Weight, Field(description="weight of the true class against the rest (TCKD)")] = 1.0
    beta: Annotated[Weight, Field(description="weight of the other classes among themselves (NCKD)")] = 8.0
    ce_weight: Annotated[Weight, Field(description="weight of the true labels")] = 1.0
    warmup: Warmup = 0


def _dkd(settings: DKDSettings) -> Parts:
    loss = partial(DKDLoss, **settings.model_dump(exclude={"ce_weight", "warmup"}))
    term = Term("dkd", 1.0, loss, warmup=settings.warmup)
    return Parts(matching=Matching(settings.ce_weight, (term,)), teacher="any")


ENTRIES = (
    Entry(
        "dkd",
        DKDSettings,
        _dkd,
        Card(
            summary="Match the true class and the other classes apart, each by a weight of its own.",
            citation="Zhao et al., Decoupled Knowledge Distillation, CVPR 2022, arXiv 2203.08679",
            equation=(
                "L = CE + T^2 (alpha KL(b^t || b^s) + beta KL(q^t || q^s)), b = (p_y, 1 - p_y), q = softmax of z / T"
                " without the true class y"
            ),
            published=(
                "CIFAR-100, resnet56 -> resnet20: 69.06 alone, 70.66 KD, 71.97 DKD",
                "CIFAR-100, resnet110 -> resnet32: 71.14 alone, 73.08 KD, 74.11 DKD",
                "CIFAR-100, resnet32x4 -> resnet8x4: 72.50 alone, 73.33 KD, 76.32 DKD",
                "CIFAR-100, WRN-40-2 -> WRN-16-2: 73.26 alone, 74.92 KD, 76.24 DKD",
                "CIFAR-100, WRN-40-2 -> WRN-40-1: 71.98 alone, 73.54 KD, 74.81 DKD",
                "CIFAR-100, vgg13 -> vgg8: 70.36 alone, 72.98 KD, 74.68 DKD",
                "CIFAR-100, resnet32x4 -> ShuffleNetV2: 71.82 alone, 74.45 KD, 77.07 DKD",
            ),
            differences=(
                "beta goes by the pair: 8 is the released code's default and resnet32x4 -> resnet8x4's, resnet56 ->"
                " resnet20 has 2; ImageNet, ResNet-34 -> ResNet-18, has beta = .5 at T = 1.",
                "The released code ramps the loss up linearly over the first 20 epochs (ImageNet: 1), which warmup = 20"
                " does here too; by default it counts in full from the first step.",
                "The released code takes logarithms of masked probabilities; here all is in log space, with the same"
                " values where both are finite.",
            ),
        ),
    ),
)
