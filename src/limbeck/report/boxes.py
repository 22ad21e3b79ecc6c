"""Predicted boxes beside the true ones, and the average precision of each class, as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from limbeck.errors import UserError
from limbeck.report.class_bars import class_colors, draw_class_bars
from limbeck.report.figure_files import save_figure

# Reports need no torch.
if TYPE_CHECKING:
    from torch import Tensor

    from limbeck.data.boxes.splits import BoxSet

_IMAGES = 4
_LEAST_SCORE = 0.5


def save_boxes_picture(
    split: BoxSet,
    predictions: Tensor,
    path: str | Path,
    *,
    classes: Sequence[str],
    precisions: Mapping[str, float],
    least_score: float = _LEAST_SCORE,
) -> Path:
    """Draw some images of a split, each with its true and its predicted boxes, beside the precision of each class.

    The images are evenly spread over the split; crowds are dashed.

    Args:
        split: The images and true boxes.
        predictions: (N, D, 6) the boxes found in each image, in the split's order: left, upper, right and lower edge,
            class from 1, score; NaN for none.
        path: The PNG to write; its folder is made if need be.
        classes: The class names.
        precisions: The average precision by class name; classes without one have no bar.
        least_score: The score of a box that is drawn.

    Returns:
        The path.

    Raises:
        UserError: If the predictions are not those of the split.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from limbeck.data.boxes.splits import BoxSet
        >>> target = {"boxes": torch.tensor([[1.0, 1.0, 5.0, 6.0]]), "labels": torch.tensor([1])}
        >>> split = BoxSet([torch.zeros(3, 8, 8, dtype=torch.uint8)], [target])
        >>> path, found = Path(tempfile.mkdtemp()) / "boxes.png", torch.tensor([[[1.0, 1.0, 5.0, 6.0, 1.0, 0.9]]])
        >>> save_boxes_picture(split, found, path, classes=["cat"], precisions={"cat": 1.0}).name
        'boxes.png'
    """
    if predictions.ndim != 3 or len(predictions) != len(split) or predictions.shape[2] != 6:
        got = tuple(predictions.shape)
        raise UserError(f"predictions: got {got}, expected ({len(split)}, D, 6), boxes with class and score")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"font.size": 9.0}):
        figure = _figure(split, predictions, classes, precisions, least_score)
        save_figure(figure, target, dpi=120, metadata={"Software": None})
    return target


def _figure(
    split: BoxSet, predictions: Tensor, classes: Sequence[str], precisions: Mapping[str, float], least_score: float
) -> Figure:
    shown = np.linspace(0, len(split) - 1, min(_IMAGES, len(split))).round().astype(int).tolist()
    _, height, width = split.shape
    rows, side = len(shown), 2.6
    figure = Figure(figsize=(2 * side * width / height + 4.2, side * rows + 0.5), layout="constrained")
    grid = figure.add_gridspec(rows, 3, width_ratios=[width / height] * 2 + [1.4])
    for row, number in enumerate(shown):
        image = split.image(number).permute(1, 2, 0).numpy()
        pair = {
            "truth": _true(split.targets[number]),
            f"prediction, score of at least {least_score:g}": _found(predictions[number], least_score),
        }
        for column, (title, boxes) in enumerate(pair.items()):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
            axes.set_title("" if row else title)
            _draw(axes, boxes, len(classes))
    draw_class_bars(figure.add_subplot(grid[:, 2]), classes, precisions, "average precision (%)")
    return figure


def _true(target: Mapping[str, Tensor]) -> Iterable[tuple[list[float], int, str]]:
    crowd = target["crowd"].tolist() if "crowd" in target else [False] * len(target["labels"])
    for box, label, many in zip(target["boxes"].tolist(), target["labels"].tolist(), crowd, strict=True):
        yield box, label, "--" if many else "-"


def _found(predictions: Tensor, least_score: float) -> Iterable[tuple[list[float], int, str]]:
    for *box, label, score in predictions.tolist():
        # Not so of NaN.
        if score >= least_score:
            yield box, int(label), "-"


def _draw(axes: Axes, boxes: Iterable[tuple[list[float], int, str]], classes: int) -> None:
    colors = class_colors(classes) / 255
    for (left, top, right, bottom), label, style in boxes:
        # A pixel's center is at a whole number there.
        place, size = (left - 0.5, top - 0.5), (right - left, bottom - top)
        # A light line within a dark one is seen on every image.
        for width, color in ((2.6, "black"), (1.4, colors[label - 1])):
            axes.add_patch(Rectangle(place, *size, fill=False, linewidth=width, edgecolor=color, linestyle=style))
