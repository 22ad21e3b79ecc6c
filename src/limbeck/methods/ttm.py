"""TTM and WTTM as methods."""

from functools import partial
from typing import Annotated

from pydantic import Field
from torch import nn

from limbeck.losses import TTMLoss, WTTMLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.validation import Settings

_Temperature = Annotated[float, Field(gt=0, description="softens the teacher alone; the paper's gamma is 1 / T")]
_Beta = Annotated[Weight, Field(description="weight of the teacher")]


class TTMSettings(Settings):
    """Settings of ``ttm``."""

    temperature: _Temperature = 10.0
    beta: _Beta = 45.0
    ce_weight: Annotated[Weight, Field(description="weight of the true labels")] = 1.0


class WTTMSettings(TTMSettings):
    """Settings of ``wttm``."""

    temperature: _Temperature = 5.0
    beta: _Beta = 4.0


def _parts(settings: TTMSettings, name: str, loss: type[nn.Module]) -> Parts:
    # The student is never softened, so that the loss has to know a temperature in front of it.
    term = Term(name, settings.beta, partial(loss, temperature=settings.temperature), takes_temperature=True)
    return Parts(matching=Matching(settings.ce_weight, (term,)), teacher="any")


_CITATION = "Zheng, Yang, Knowledge Distillation Based on Transformed Teacher Matching, ICLR 2024, arXiv 2402.11148"
_BY_PAIR = "The paper tunes T and beta for every pair of networks, in tables that we could not read."
ENTRIES = (
    Entry(
        "ttm",
        TTMSettings,
        partial(_parts, name="ttm", loss=TTMLoss),
        Card(
            summary="Soften the teacher alone, which keeps the student from being overconfident.",
            citation=_CITATION,
            equation="L = CE + beta KL(softmax(z^t / T) || softmax(z^s)), mean over rows",
            published=(
                "CIFAR-100, resnet56 -> resnet20: 69.06 alone, 70.66 KD, 71.83 TTM",
                "CIFAR-100, resnet32x4 -> resnet8x4: 72.50 alone, 73.33 KD, 76.17 TTM",
                "CIFAR-100, WRN-40-2 -> WRN-40-1: 71.98 alone, 73.54 KD, 74.32 TTM",
                "CIFAR-100, vgg13 -> vgg8: 70.36 alone, 72.98 KD, 74.33 TTM",
            ),
            differences=(_BY_PAIR + " The defaults are the released code's example for vgg13 -> vgg8.",),
        ),
    ),
    Entry(
        "wttm",
        WTTMSettings,
        partial(_parts, name="wttm", loss=WTTMLoss),
        Card(
            summary="TTM with each row weighted by how soft the teacher is there.",
            citation=_CITATION,
            equation=(
                "L = CE + beta mean_i(U_i KL(softmax(z^t_i / T) || softmax(z^s_i))), U_i = sum_j (p^t_ij)^(1 / T),"
                " p = softmax(z)"
            ),
            published=(
                "CIFAR-100, resnet56 -> resnet20: 69.06 alone, 70.66 KD, 71.92 WTTM",
                "CIFAR-100, resnet32x4 -> resnet8x4: 72.50 alone, 73.33 KD, 76.06 WTTM",
                "CIFAR-100, WRN-40-2 -> WRN-40-1: 71.98 alone, 73.54 KD, 74.58 WTTM",
                "CIFAR-100, vgg13 -> vgg8: 70.36 alone, 72.98 KD, 74.44 WTTM",
                "ImageNet, ResNet-34 -> ResNet-18: 69.76 alone, 70.66 KD, 72.19 WTTM",
            ),
            differences=(
                _BY_PAIR + " The defaults are the released code's example for vgg13 -> vgg8, where it joins CRD.",
            ),
        ),
    ),
)
