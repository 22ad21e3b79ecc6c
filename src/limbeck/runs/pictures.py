"""The picture of a complete run, where its task and data have one."""

from pathlib import Path

from torch import Tensor

from limbeck.data import Data
from limbeck.data.boxes.splits import BoxSet
from limbeck.data.masks.splits import MaskSet
from limbeck.report.boxes import save_boxes_picture
from limbeck.report.class_figures import ClassFigures
from limbeck.report.classes import save_class_picture
from limbeck.report.masks import save_masks_picture
from limbeck.tasks import Measured


def save_picture(
    folder: Path, data: Data, measured: Measured, *, teacher: Measured | None = None, title: str = ""
) -> Path | None:
    """Draw what a student predicts on the test split: masks or boxes beside the true ones, or the classes it confuses.

    Args:
        folder: The run's folder; the picture is ``masks.png``, ``boxes.png`` or ``classes.png`` in it.
        data: The run's data.
        measured: What the student reached on the test split.
        teacher: What its teacher reached there; None where it was not measured there.
        title: The line above the picture of classes.

    Returns:
        The picture's path; None for data without one.

    Example:
        >>> from limbeck.data import load
        >>> save_picture(Path(), load("fashion_mnist_sample", train_limit=10, test_limit=10), Measured())
    """
    split, predictions, classes = data.test, measured.predictions, data.classes
    if predictions is None:
        return None
    if isinstance(split, MaskSet):
        if predictions.shape != split.masks.shape:
            return None
        ious = _of_classes(measured, "iou")
        return save_masks_picture(split, predictions, folder / "masks.png", classes=classes, ious=ious)
    if isinstance(split, BoxSet):
        if predictions.ndim != 3:
            return None
        precisions = _of_classes(measured, "ap")
        return save_boxes_picture(split, predictions, folder / "boxes.png", classes=classes, precisions=precisions)
    figures = class_figures(data, predictions, None if teacher is None else teacher.predictions)
    return None if figures is None else save_class_picture(figures, folder / "classes.png", title=title)


def class_figures(data: Data, predictions: Tensor, teacher: Tensor | None = None) -> ClassFigures | None:
    """Return the figures of each class on the test split; None where its samples have not one true class each.

    Args:
        data: The data.
        predictions: The student's classes, in the split's order.
        teacher: The teacher's.

    Example:
        >>> from limbeck.data import load
        >>> data = load("fashion_mnist_sample", train_limit=10, test_limit=10)
        >>> int(class_figures(data, data.test.labels).matrix.trace())
        10
    """
    labels = data.test.labels
    if labels.ndim != 1 or labels.is_floating_point() or predictions.shape != labels.shape:
        return None
    same = None if teacher is None or teacher.shape != labels.shape else teacher.numpy()
    return ClassFigures.of(labels.numpy(), predictions.numpy(), data.classes, same)


def _of_classes(measured: Measured, figure: str) -> dict[str, float]:
    """Return a figure by class name."""
    beginning = f"{figure}."
    values = measured.values.items()
    return {name.removeprefix(beginning): value for name, value in values if name.startswith(beginning)}
