"""Training without a teacher: cross-entropy, and cross-entropy with smoothed labels."""

from typing import Annotated

from pydantic import Field

from limbeck.methods.card import builtin
from limbeck.methods.fields import NoSettings
from limbeck.methods.method import Matching, Parts
from limbeck.validation import Settings


class LabelSmoothingSettings(Settings):
    """Settings of ``label_smoothing``."""

    smoothing: Annotated[float, Field(ge=0, lt=1, description="share of the label spread evenly over all classes")] = (
        0.1
    )


def _none(_: NoSettings) -> Parts:
    return Parts(matching=Matching(1.0, replaceable=True))


def _label_smoothing(settings: LabelSmoothingSettings) -> Parts:
    return Parts(matching=Matching(1.0, replaceable=True), label_smoothing=settings.smoothing)


ENTRIES = (
    builtin("none", NoSettings, _none),
    builtin("label_smoothing", LabelSmoothingSettings, _label_smoothing),
)
