"""Training without a teacher: cross-entropy, and cross-entropy with smoothed labels."""

from typing import Annotated

from pydantic import Field

from limbeck.methods.card import Card, Entry
from limbeck.methods.method import Matching, Parts
from limbeck.validation import Settings


class NoneSettings(Settings):
    """Nothing to set."""


class LabelSmoothingSettings(Settings):
    """Settings of ``label_smoothing``."""

    smoothing: Annotated[float, Field(ge=0, lt=1, description="share of the label spread evenly over all classes")] = (
        0.1
    )


def _none(_: NoneSettings) -> Parts:
    return Parts(matching=Matching(1.0, replaceable=True))


def _label_smoothing(settings: LabelSmoothingSettings) -> Parts:
    return Parts(matching=Matching(1.0, replaceable=True), label_smoothing=settings.smoothing)


ENTRIES = (
    Entry(
        "none",
        NoneSettings,
        _none,
        Card(
            summary="Cross-entropy with the true labels: the student alone.",
            citation="no paper: the baseline of every table",
            equation="L = CE(y, p^s)",
        ),
    ),
    Entry(
        "label_smoothing",
        LabelSmoothingSettings,
        _label_smoothing,
        Card(
            summary="Cross-entropy with smoothed labels: a virtual teacher that knows nothing but the label.",
            citation="Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016, section 7",
            equation="L = CE(q, p^s), q = (1 - s) onehot(y) + s / C",
            ours=("Composed with another method, it smooths the labels of that method's cross-entropy.",),
        ),
    ),
)
