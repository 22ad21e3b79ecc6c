"""Curriculum temperature (CTKD) as a method."""

from functools import partial
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.methods.card import TEMPERED, Card, Entry
from limbeck.methods.fields import Alpha
from limbeck.methods.method import Matching, Parts, Term
from limbeck.modifiers import LearnedTemperature
from limbeck.rows import check_pair, full, row_mean
from limbeck.validation import Settings


class CTKDSettings(Settings):
    """Settings of ``ctkd``."""

    alpha: Alpha = 0.9
    start: Annotated[float, Field(gt=0, description="the temperature that is never gone below")] = 1.0
    span: Annotated[float, Field(gt=0, description="by how much the temperature can exceed it")] = 20.0
    curriculum: Annotated[
        float, Field(gt=0, le=1, description="share of the training over which the reversed gradient grows to full")
    ] = 10 / 240


class _BothSidesKD(nn.Module):
    """KD at T = 1 without the usual detaching, since the temperature is felt on the teacher's side too."""

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor | None = None,  # noqa: ARG002
        weight: Tensor | None = None,
    ) -> Tensor:
        check_pair(student_logits, teacher_logits)
        log_student, log_teacher = (F.log_softmax(full(rows), dim=1) for rows in (student_logits, teacher_logits))
        return row_mean(F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1), weight)


def _ctkd(settings: CTKDSettings) -> Parts:
    matching = Matching(1 - settings.alpha, (Term("kd", settings.alpha, _BothSidesKD),), replaceable=True)
    modifier = partial(LearnedTemperature, **settings.model_dump(exclude={"alpha"}))
    return Parts(matching=matching, modifiers=(modifier,), teacher="any")


ENTRIES = (
    Entry(
        "ctkd",
        CTKDSettings,
        _ctkd,
        Card(
            summary="A temperature that is trained against the student, a little at first and fully after a while.",
            citation="Li et al., Curriculum Temperature for Knowledge Distillation, AAAI 2023, arXiv 2211.16231",
            equation=(
                "min over the student, max over T: (1 - a) CE + a T^2 KL(softmax(z^t / T) || softmax(z^s / T)),"
                " T = 1 + 20 sigmoid(theta), theta's gradient times -(1 - cos(pi min(1, e / E_l))) / 2"
            ),
            published=(
                "CIFAR-100, resnet56 -> resnet20: 70.66 KD, 71.19 CTKD",
                "CIFAR-100, WRN-40-2 -> WRN-40-1: 73.54 KD, 73.93 CTKD; vgg13 -> vgg8: 72.98 KD, 73.52 CTKD",
                "ImageNet, ResNet-34 -> ResNet-18: 70.83 KD, 71.32 CTKD",
            ),
            differences=(
                "This is the global temperature, one number; the paper's instance-wise one is not here.",
                "E_l is 10 of 240 epochs in the released code, hence curriculum = 10 / 240 of any training.",
                "As in the released code, a run trains theta by the student's optimizer, weight decay and all.",
            ),
            ours=(
                "lambda is 0 in the first epoch; the released code, which counts epochs from 1, begins at .024.",
                "With its own loss theta feels the temperature on both sides, as in the released code. Other losses"
                " (ctkd+dist) give the teacher's side no gradient: there theta feels the student's side and T^2 only.",
                TEMPERED,
            ),
        ),
        tempers=True,
    ),
)
