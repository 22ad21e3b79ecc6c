"""Predicted masks beside the true ones, and the IoU of each class, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from limbeck.errors import UserError
from limbeck.report.class_bars import class_colors, draw_class_bars
from limbeck.report.figure_files import save_figure

# Reports need no torch.
if TYPE_CHECKING:
    from torch import Tensor

    from limbeck.data.masks.splits import MaskSet

_IMAGES = 4


def save_masks_picture(
    split: MaskSet, predictions: Tensor, path: str | Path, *, classes: Sequence[str], ious: Mapping[str, float]
) -> Path:
    """Draw some images of a split, each with its true and its predicted mask, beside the IoU of each class.

    Positions that count nowhere are black in the true mask. The images are evenly spread over the split.

    Args:
        split: The images and true masks.
        predictions: (N, H, W) the predicted classes, in the split's order.
        path: The PNG to write; its folder is made if need be.
        classes: The class names.
        ious: The IoU by class name; classes without one have no bar.

    Returns:
        The path.

    Raises:
        UserError: If the predictions are not of the split's size.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from limbeck.data.masks.splits import MaskSet
        >>> masks = torch.zeros(1, 8, 8, dtype=torch.uint8)
        >>> split = MaskSet(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), masks)
        >>> path = Path(tempfile.mkdtemp()) / "masks.png"
        >>> save_masks_picture(split, masks, path, classes=["sky"], ious={"sky": 1.0}).name
        'masks.png'
    """
    if predictions.shape != split.masks.shape:
        got, expected = tuple(predictions.shape), tuple(split.masks.shape)
        raise UserError(f"predictions: got {got}, expected the size of the masks, {expected}")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"font.size": 9.0}):
        save_figure(_figure(split, predictions, classes, ious), target, dpi=120, metadata={"Software": None})
    return target


def _figure(split: MaskSet, predictions: Tensor, classes: Sequence[str], ious: Mapping[str, float]) -> Figure:
    shown = np.linspace(0, len(split) - 1, min(_IMAGES, len(split))).round().astype(int).tolist()
    _, height, width = split.shape
    rows, side = len(shown), 2.2
    figure = Figure(figsize=(3 * side * width / height + 4.2, side * rows + 0.5), layout="constrained")
    grid = figure.add_gridspec(rows, 4, width_ratios=[width / height] * 3 + [1.6])
    colors = class_colors(len(classes))
    for row, number in enumerate(shown):
        image = split.images[number].permute(1, 2, 0).expand(-1, -1, 3).numpy()
        pictures = (image, colors[split.masks[number].numpy()], colors[predictions[number].numpy()])
        for column, (title, picture) in enumerate(zip(("image", "truth", "prediction"), pictures, strict=True)):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(picture, interpolation="nearest")
            axes.set_axis_off()
            axes.set_title("" if row else title)
    draw_class_bars(figure.add_subplot(grid[:, 3]), classes, ious, "IoU (%)")
    return figure
