"""NKD as a method."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import NKDLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.validation import Settings


class NKDSettings(Settings):
    """Settings of ``nkd``."""

    temperature: Annotated[float, Field(gt=0, description="softens the other classes of both sides")] = 3.0
    gamma: Annotated[Weight, Field(description="weight of the other classes")] = 3.5
    ce_weight: Annotated[Weight, Field(description="weight of the true labels")] = 1.0


def _nkd(settings: NKDSettings) -> Parts:
    loss = partial(NKDLoss, temperature=settings.temperature, gamma=settings.gamma)
    # The true class is never softened, so that the loss has to know a temperature in front of it.
    term = Term("nkd", 1.0, loss, takes_temperature=True)
    return Parts(matching=Matching(settings.ce_weight, (term,)), teacher="any")


ENTRIES = (
    Entry(
        "nkd",
        NKDSettings,
        _nkd,
        Card(
            summary="The teacher's confidence weighs the true class; the others are matched once normalized.",
            citation=(
                "Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with"
                " Normalized Loss and Customized Soft Labels, ICCV 2023, arXiv 2303.13005"
            ),
            equation=(
                "L = CE - p^t_y log p^s_y - gamma T^2 sum_j q^t_j log q^s_j, p = softmax(z), q = softmax of z / T"
                " without the true class y"
            ),
            published=("ImageNet, ResNet-34 -> ResNet-18: 69.90 alone, 71.96 NKD",),
            differences=(
                "The defaults are the released configuration's for CIFAR-100, ResNet-34 -> ResNet-18: T = 3,"
                " gamma = 3.5; ImageNet's is T = 1, gamma = 1.5.",
                "As in the released code, the temperature softens only the other classes.",
            ),
        ),
    ),
)
