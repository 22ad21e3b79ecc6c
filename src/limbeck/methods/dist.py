"""DIST as a method."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import MIN_SPREAD, DISTLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import MinSpread, Scale, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.validation import Settings


class DISTSettings(Settings):
    """Settings of ``dist``."""

    temperature: Temperature = 4.0
    beta: Annotated[Weight, Field(description="weight of the inter-class term")] = 2.0
    gamma: Annotated[Weight, Field(description="weight of the intra-class term")] = 2.0
    ce_weight: Annotated[Weight, Field(description="weight of the true labels")] = 1.0
    scale: Annotated[Scale, Field(description="'code' multiplies both terms by T^2, 'paper' does not")] = "code"
    min_spread: MinSpread = MIN_SPREAD
    gather: Annotated[bool, Field(description="use the rows of all processes in the intra-class term")] = False


def _dist(settings: DISTSettings) -> Parts:
    loss = partial(DISTLoss, **settings.model_dump(exclude={"ce_weight"}))
    term = Term("dist", 1.0, loss, scales_with_temperature=settings.scale == "code")
    return Parts(matching=Matching(settings.ce_weight, (term,)), teacher="any")


ENTRIES = (
    Entry(
        "dist",
        DISTSettings,
        _dist,
        Card(
            summary="Match relations (Pearson, between and within classes) where the teacher is much stronger.",
            citation="Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022, arXiv 2205.10536",
            equation=(
                "L = CE + beta T^2 mean_i(1 - rho(Y^s_i:, Y^t_i:)) + gamma T^2 mean_j(1 - rho(Y^s_:j, Y^t_:j)),"
                " Y = softmax(z / T)"
            ),
            published=(
                "CIFAR-100, resnet56 -> resnet20: 69.06 alone, 70.66 KD, 71.75 +- .30 DIST",
                "CIFAR-100, resnet32x4 -> resnet8x4: 72.50 alone, 73.33 KD, 76.31 +- .19 DIST",
                "CIFAR-100, WRN-40-2 -> WRN-40-1: 71.98 alone, 73.54 KD, 74.43 +- .24 DIST",
                "ImageNet, ResNet-34 -> ResNet-18: 69.76 alone, 71.21 KD, 72.07 DIST (re-runs of others: 71.61-71.95)",
                "ImageNet, ResNet-34 -> ResNet-18: inter only 71.63, intra only 71.55, both 72.07",
            ),
            differences=(
                "The paper uses beta = gamma = 2 for classification, with T = 4 on CIFAR-100 and T = 1 on ImageNet;"
                " the default here is CIFAR's. Detection and segmentation: beta = gamma = 1, T = 1.",
                "The released code multiplies both terms by T^2 (scale: code), which produced the CIFAR numbers; the"
                " appendix is said to have no T^2 (scale: paper). At T = 1 they agree.",
                "Under data parallelism the authors computed the intra-class term per device; gather: true makes N"
                " processes equal one.",
            ),
            ours=(
                "min_spread d: the norm of a row or column counts as at least tanh(d / T) of its mean times the root of"
                " its length, which is what logits of the standard deviation d have. Without it (d = 0, the published"
                " formula) a student whose logits are all but constant, such as one with a zero-initialized head, gets"
                " gradients of 1e6 and more, and with SGD never recovers.",
                "Row weights leave a row out of the column statistics too.",
            ),
            cautions=(
                "A column's relation is one between the samples of a batch: a batch of a few carries little of it."
                " With two classes only that relation is left, because a row of two that varies by min_spread always"
                " correlates fully.",
            ),
        ),
    ),
)
