"""The dynamic temperature scheduler (DTS) as a method."""

from functools import partial
from typing import Annotated, Self

from pydantic import Field, model_validator

from limbeck.losses import KDLoss
from limbeck.methods.card import TEMPERED, Card, Entry
from limbeck.methods.fields import Alpha
from limbeck.methods.method import Matching, Parts, Term
from limbeck.modifiers import ScheduledTemperature
from limbeck.validation import Settings

_Positive = Annotated[float, Field(gt=0)]


class DTSSettings(Settings):
    """Settings of ``dts``."""

    alpha: Alpha = 0.9
    initial: Annotated[_Positive, Field(description="temperature at the start")] = 8.0
    minimum: Annotated[_Positive, Field(description="lowest temperature aimed at")] = 4.0
    maximum: Annotated[_Positive, Field(description="highest temperature aimed at")] = 8.0
    curve: Annotated[float, Field(gt=0, le=1, description="how far along the cosine the last epoch is")] = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1, description="share of the old temperature kept at each batch")] = 0.9

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        self.modifier()
        return self

    def modifier(self) -> ScheduledTemperature:
        """Make the modifier."""
        return ScheduledTemperature(**self.model_dump(exclude={"alpha"}))


def _dts(settings: DTSSettings) -> Parts:
    term = Term("kd", settings.alpha, partial(KDLoss, temperature=1.0))
    matching = Matching(1 - settings.alpha, (term,), replaceable=True)
    return Parts(matching=matching, modifiers=(settings.modifier,), teacher="any")


ENTRIES = (
    Entry(
        "dts",
        DTSSettings,
        _dts,
        Card(
            summary="A temperature that falls with the epochs and rises while the student is far behind the teacher.",
            citation="Islam et al., Dynamic Temperature Scheduler for Knowledge Distillation, arXiv 2511.13767, 2025",
            equation=(
                "L = (1 - a) CE + a T^2 KL(softmax(z^t / T) || softmax(z^s / T)); after each batch"
                " T <- .9 T + .1 clamp(T_0 c s, T_min, T_max), c = (1 + cos(pi k e / E)) / 2, s = g / (g + 1) where"
                " that is above 1, else 1, g = CE(z^t, y) - CE(z^s, y)"
            ),
            differences=(
                "T_0 = T_max = 8 and T_min = 4 are the paper's for images, (1 - a, a) = (.1, .9) its KD; beside LSKD it"
                " halves the temperatures.",
                "s is above 1 exactly where g < -1: a student whose cross-entropy is more than 1 above the teacher's.",
            ),
            ours=(
                "At g = -1, where s divides by 0, s is 1; a batch whose gap is no finite number leaves T as it is.",
                "The gap is that of the logits as they reach this name: after targets, and after modifiers of the names"
                " written before it.",
                TEMPERED,
            ),
        ),
        tempers=True,
    ),
)
