"""The picture of a complete run, where its task and data have one."""

from pathlib import Path

from limbeck.data import Data
from limbeck.data.masks.splits import MaskSet
from limbeck.report.masks import save_masks_picture
from limbeck.tasks import Measured


def save_picture(folder: Path, data: Data, measured: Measured) -> Path | None:
    """Draw what a student predicts on the test split: masks beside the true ones.

    Args:
        folder: The run's folder; the picture is ``masks.png`` in it.
        data: The run's data.
        measured: What the student reached on the test split.

    Returns:
        The picture's path; None for data without one.

    Example:
        >>> from limbeck.data import load
        >>> save_picture(Path(), load("fashion_mnist_sample", train_limit=10, test_limit=10), Measured())
    """
    split, predictions = data.test, measured.predictions
    if not isinstance(split, MaskSet) or predictions is None or predictions.shape != split.masks.shape:
        return None
    ious = {name.removeprefix("iou."): value for name, value in measured.values.items() if name.startswith("iou.")}
    return save_masks_picture(split, predictions, folder / "masks.png", classes=data.classes, ious=ious)
