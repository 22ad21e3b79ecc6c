"""Logit standardization (LSKD) as a method."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import MIN_SPREAD, KDLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import MinSpread, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.modifiers import StandardizeLogits
from limbeck.validation import Settings


class LSKDSettings(Settings):
    """Settings of ``lskd``."""

    temperature: Temperature = 2.0
    kd_weight: Annotated[Weight, Field(description="weight of the KL")] = 9.0
    min_spread: MinSpread = MIN_SPREAD
    ce_weight: Annotated[Weight, Field(description="weight of the true labels")] = 1.0


def _lskd(settings: LSKDSettings) -> Parts:
    term = Term("kd", settings.kd_weight, partial(KDLoss, temperature=settings.temperature))
    matching = Matching(settings.ce_weight, (term,), replaceable=True)
    return Parts(
        matching=matching, modifiers=(partial(StandardizeLogits, min_spread=settings.min_spread),), teacher="any"
    )


ENTRIES = (
    Entry(
        "lskd",
        LSKDSettings,
        _lskd,
        Card(
            summary="Standardize each row of logits on both sides, then match; lskd+dist and the like match otherwise.",
            citation="Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024, arXiv 2403.01427",
            equation=(
                "L = CE(z^s) + 9 T^2 KL(softmax(Z(z^t) / T) || softmax(Z(z^s) / T)),"
                " Z(z) = (z - mean z) / (std z + 1e-7) a row, std unbiased"
            ),
            published=(
                "CIFAR-100, resnet56 -> resnet20: 70.66 KD, 71.43 KD + LSKD, 72.32 DKD + LSKD",
                "CIFAR-100, resnet32x4 -> resnet8x4: 73.33 KD, 76.62 KD + LSKD, 77.01 DKD + LSKD",
                "CIFAR-100, WRN-40-2 -> WRN-40-1: 73.54 KD, 74.37 KD + LSKD, 74.89 DKD + LSKD",
                "CIFAR-100, resnet32x4 -> ShuffleNetV2: 74.45 KD, 75.56 KD + LSKD, 77.37 DKD + LSKD",
            ),
            differences=(
                "The released code runs KD with weights CE 1, KL 9 and T = 2 (T = 3 for some pairs, as its logs' names"
                " say), which are the defaults; its branch on CTKD has CE .1, KL 9, T = 2.",
                "Beside DKD it multiplies DKD's weights by 9 too; in lskd+dkd the loss and its weights are dkd's own,"
                " to be set there.",
            ),
            ours=(
                "min_spread d: a row is divided by at least d, so that the gradient of all but constant logits is not"
                " enlarged up to 1e7 times. With d = 0, the published formula, a constant row becomes zeros without"
                " gradient.",
            ),
        ),
    ),
)
