"""What annotations hold, and which of their boxes are left out or clipped, named for the owner of the files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from limbeck.data.boxes.augment import clipped, have_area, scaled
from limbeck.data.boxes.splits import Size, Target

_SHOWN = 3
# Boxes that end less than this beyond their image, in pixels, were rounded.
_ROUNDED = 0.01


@dataclass
class Annotated:
    """An image file and what its annotations hold.

    Attributes:
        image: The image's file.
        source: Where its annotations stand.
        size: Height and width that the annotations give for the image; None where they do not.
        names: Where each box stands, such as ``"1.xml box 2"``.
        boxes: Left, upper, right and lower edge of each box in pixels of the image.
        labels: The class of each, from 1.
        crowd: Whether each is a region of many objects.

    Example:
        >>> annotated = Annotated(Path("1.jpg"), "1.xml")
        >>> annotated.add("1.xml box 1", (0, 0, 2, 3), 1)
        >>> annotated.boxes
        [(0, 0, 2, 3)]
    """

    image: Path
    source: str
    size: Size | None = None
    names: list[str] = field(default_factory=list)
    boxes: list[Sequence[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)

    def add(self, name: str, box: Sequence[float], label: int, *, crowd: bool = False) -> None:
        """Add a box."""
        self.names.append(name)
        self.boxes.append(box)
        self.labels.append(label)
        self.crowd.append(crowd)


@dataclass
class Findings:
    """The boxes that are left out or clipped, and how many images have none.

    Attributes:
        dropped: The names of those without area or outside of their image.
        clipped: The names of those that ended outside of their image.
        empty: The number of images without boxes.

    Example:
        >>> Findings(dropped=["1.xml box 2"]).notes
        ('boxes without area or outside of their image, left out: 1 (1.xml box 2)',)
    """

    dropped: list[str] = field(default_factory=list)
    clipped: list[str] = field(default_factory=list)
    empty: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each kind, for :attr:`limbeck.data.Data.notes`."""
        lines = {
            "boxes without area or outside of their image, left out": self.dropped,
            "boxes that end outside of their image, clipped": self.clipped,
        }
        notes = [f"{text}: {len(names):,} ({_shown(names)})" for text, names in lines.items() if names]
        return (*notes, f"images without boxes: {self.empty:,}") if self.empty else tuple(notes)


def _shown(names: Sequence[str]) -> str:
    return ", ".join([*names[:_SHOWN], "..."] if len(names) > _SHOWN else names)


def checked_target(annotated: Annotated, size: Size, to: Size, findings: Findings, *, crowds: bool) -> Target:
    """Return the ground truth of an image without boxes that are none, and with the others clipped.

    Args:
        annotated: What the annotations hold.
        size: Height and width of the image's file.
        to: Those that it is resized to.
        findings: What was left out or clipped is added to these.
        crowds: Whether the ground truth has an entry ``crowd``.

    Example:
        >>> annotated, findings = Annotated(Path("1.jpg"), "1.xml"), Findings()
        >>> annotated.add("box 1", (2, 2, 2, 2), 1)
        >>> annotated.add("box 2", (-1, 2, 9, 4), 2)
        >>> checked_target(annotated, (10, 10), (20, 20), findings, crowds=False)
        {'boxes': tensor([[ 0.,  4., 18.,  8.]]), 'labels': tensor([2])}
        >>> findings
        Findings(dropped=['box 1'], clipped=['box 2'], empty=0)
    """
    boxes = torch.tensor(annotated.boxes, dtype=torch.float64).view(-1, 4)
    inside = clipped(boxes, size)
    resized = scaled(inside, size, to)
    stays = boxes.isfinite().all(dim=1) & have_area(inside) & have_area(resized)
    changed = stays & ((inside - boxes).abs() > _ROUNDED).any(dim=1)
    findings.dropped += [name for name, stay in zip(annotated.names, stays.tolist(), strict=True) if not stay]
    findings.clipped += [name for name, change in zip(annotated.names, changed.tolist(), strict=True) if change]
    findings.empty += not bool(stays.any())
    labels, crowd = torch.tensor(annotated.labels, dtype=torch.int64), torch.tensor(annotated.crowd, dtype=torch.bool)
    target = {"boxes": resized[stays].float(), "labels": labels[stays]}
    return {**target, "crowd": crowd[stays]} if crowds else target
