"""RLD as a method."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import RLDLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import Temperature, Warmup, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.validation import Settings


class RLDSettings(Settings):
    """Settings of ``rld``."""

    temperature: Temperature = 4.0
    confidence_temperature: Annotated[
        float | None, Field(gt=0, description="temperature of the sample confidence; the other one if not given")
    ] = None
    alpha: Annotated[Weight, Field(description="weight of the sample confidence")] = 1.0
    beta: Annotated[Weight, Field(description="weight of the masked correlation")] = 8.0
    ce_weight: Annotated[Weight, Field(description="weight of the true labels")] = 1.0
    warmup: Warmup = 0


def _rld(settings: RLDSettings) -> Parts:
    loss = partial(RLDLoss, **settings.model_dump(exclude={"ce_weight", "warmup"}))
    term = Term("rld", 1.0, loss, warmup=settings.warmup)
    return Parts(matching=Matching(settings.ce_weight, (term,)), teacher="any")


ENTRIES = (
    Entry(
        "rld",
        RLDSettings,
        _rld,
        Card(
            summary="Take from the teacher its confidence and its ranking below the true class, not its mistakes.",
            citation="Sun et al., Knowledge Distillation with Refined Logits, ICCV 2025, arXiv 2408.07703",
            equation=(
                "L = CE + alpha T_c^2 KL((max p^t, 1 - max p^t) || (p^s_y, 1 - p^s_y)) + beta T^2 KL(q^t || q^s),"
                " q = softmax of z / T over the classes that the teacher puts below the true class y"
            ),
            differences=(
                "The defaults are the released code's for CIFAR-100, with one temperature for both terms as in its"
                " example command; its configuration alone has T_c = 1. ImageNet, ResNet-34 -> ResNet-18: beta = .5,"
                " T = 1.",
                "The released code ramps the loss up linearly over the first 20 epochs (ImageNet: 1), which warmup = 20"
                " does here too; by default it counts in full from the first step.",
            ),
        ),
    ),
)
