"""The picture of a complete run, where its task and data have one."""

from pathlib import Path

from limbeck.data import Data
from limbeck.data.boxes.splits import BoxSet
from limbeck.data.masks.splits import MaskSet
from limbeck.report.boxes import save_boxes_picture
from limbeck.report.masks import save_masks_picture
from limbeck.tasks import Measured


def save_picture(folder: Path, data: Data, measured: Measured) -> Path | None:
    """Draw what a student predicts on the test split: masks or boxes beside the true ones.

    Args:
        folder: The run's folder; the picture is ``masks.png`` or ``boxes.png`` in it.
        data: The run's data.
        measured: What the student reached on the test split.

    Returns:
        The picture's path; None for data without one.

    Example:
        >>> from limbeck.data import load
        >>> save_picture(Path(), load("fashion_mnist_sample", train_limit=10, test_limit=10), Measured())
    """
    split, predictions, classes = data.test, measured.predictions, data.classes
    if isinstance(split, MaskSet) and predictions is not None and predictions.shape == split.masks.shape:
        return save_masks_picture(
            split, predictions, folder / "masks.png", classes=classes, ious=_of_classes(measured, "iou")
        )
    if isinstance(split, BoxSet) and predictions is not None and predictions.ndim == 3:
        return save_boxes_picture(
            split, predictions, folder / "boxes.png", classes=classes, precisions=_of_classes(measured, "ap")
        )
    return None


def _of_classes(measured: Measured, figure: str) -> dict[str, float]:
    """Return a figure by class name."""
    beginning = f"{figure}."
    values = measured.values.items()
    return {name.removeprefix(beginning): value for name, value in values if name.startswith(beginning)}
