"""Segmentation: a map of logits a sample, of which every supervised position is a row."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.models.calling import output_logits
from limbeck.rows import Rows, pixels
from limbeck.tasks.base import MAIN, Task
from limbeck.tasks.metrics import Metric
from limbeck.tasks.positions import rows_at, spread_positions
from limbeck.tasks.segmentation_figures import SegmentationEvaluator, full_size

IGNORED = 255
"""The class of positions that count nowhere, as most sets of masks and :mod:`limbeck.data.masks` have it."""


class Segmentation(Task):
    """One of C classes for each position of an image.

    Targets are (N, H, W) true classes. An output is a map of logits (N, C, h, w) of any size, a list of such maps, a
    mapping with ``out`` or ``logits`` (and, of auxiliary heads, names that begin with ``aux``), or an object with
    ``.logits``. Losses compare maps in the size that the student gives them: the masks are read at the nearest
    position, and a teacher's map of another size is resized to the student's. Figures are those of full-size masks,
    to which the logits are resized bilinearly.

    Args:
        num_classes: Number of classes C; needed by :meth:`evaluator`.
        ignore_index: The class of positions that count nowhere; their rows are taken out of every loss.
        aux_weight: The weight of an auxiliary head's losses; 0.4 is that of PSPNet and torchvision.
        positions: How many positions of a map count for the losses against the teacher, drawn anew in each epoch; None
            for all. The ground truth counts at every position.
        seed: Of these draws, which depend on it, on the epoch and on the sample alone.

    Raises:
        UserError: If a setting is out of range.

    References:
        The weight of auxiliary heads: Zhao et al., Pyramid Scene Parsing Network, arXiv 1612.01105. Losses on maps that
        are not enlarged, with ignored positions taken out, and spread draws of positions are ours.

    Example:
        >>> task = Segmentation(3)
        >>> rows = task.rows({"out": torch.zeros(1, 3, 1, 2)}, torch.tensor([[[2, 255]]]))["main"]
        >>> rows.logits.shape, rows.labels, rows.sample
        (torch.Size([1, 3]), tensor([2]), tensor([0]))
    """

    name = "segmentation"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("miou", "mIoU"),
        Metric("pixel_accuracy", "pixel accuracy"),
        Metric("loss", "NLL", higher_is_better=False, share=False),
    )
    stores_maps = True

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        ignore_index: int = IGNORED,
        aux_weight: float = 0.4,
        positions: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(num_classes)
        if not aux_weight >= 0:
            raise UserError(f"task.aux_weight: got {aux_weight}, expected a number of at least 0")
        if positions is not None and positions < 1:
            raise UserError(f"task.positions: got {positions}, expected a whole number of at least 1")
        self.ignore_index, self.aux_weight, self.positions, self.seed = ignore_index, aux_weight, positions, seed

    def rows(self, output: Any, targets: Tensor | None) -> Mapping[str, Rows]:
        """Return a row for each supervised position of each head, see :func:`limbeck.rows.pixels`."""
        maps = maps_by_head(output)
        return {head: pixels(logits, targets, ignore_index=self.ignore_index) for head, logits in maps.items()}

    def supervised_rows(self, targets: Any, samples: int) -> Tensor | int:
        """Return how many positions of the masks count."""
        return (targets != self.ignore_index).sum() if isinstance(targets, Tensor) else samples

    def measured_rows(self, output: Any, targets: Tensor) -> Iterator[Rows]:
        """Yield a row for each supervised position of the main head's maps at the size of the masks, image by image."""
        for maps, masks in full_size(main_maps(output), targets):
            yield pixels(maps, masks, ignore_index=self.ignore_index)

    def aligned(self, output: Any, paired: Any) -> Any:
        """Return maps in the size of the other network's, by head; heads of one network alone are left out."""
        own, other = maps_by_head(output), maps_by_head(paired)
        return {head: resized(maps, other[head].shape[2:]) for head, maps in own.items() if head in other}

    def taught(self, rows: Rows, logits: Tensor, indices: Tensor | None, epoch: int) -> tuple[Rows, Tensor]:
        """Return a sample's rows at ``positions`` places alone, spread over the map, and the teacher's logits there."""
        if self.positions is None or rows.sample is None or rows.sample.numel() == 0:
            return rows, logits
        picked = spread_positions(rows.sample, self.positions, indices, seed=self.seed, epoch=epoch)
        return rows_at(rows, picked), logits[picked]

    def weighted(self, head: str, loss: Tensor) -> Tensor:
        """Multiply a loss by the weight of its head: every head but the main one has that of auxiliary heads."""
        return loss if head == MAIN else self.aux_weight * loss

    @torch.no_grad()
    def figures(self, rows: Mapping[str, Rows]) -> dict[str, Tensor]:
        """Return the share of positions that are right, at the size of the logits, times the number of samples."""
        logits, labels, _, sample = rows[MAIN]
        if labels is None or sample is None or not len(sample):
            return {"pixel_accuracy": logits.new_zeros(())}
        return {"pixel_accuracy": (int(sample[-1]) + 1) * (logits.argmax(dim=1) == labels).float().mean()}

    def evaluator(self) -> SegmentationEvaluator:
        """Return an evaluator of mean IoU, pixel accuracy, loss, and the IoU of each class.

        Raises:
            UserError: If the number of classes is not known.
        """
        if self.num_classes is None:
            raise UserError("num_classes: got None, expected the number of classes to measure")
        names = self.class_names or tuple(map(str, range(self.num_classes)))
        return SegmentationEvaluator(names, main_maps, ignore_index=self.ignore_index)

    def check(self, output: Any, num_classes: int, role: str, data: str) -> None:
        """Check that an output is maps of the data's classes; see :meth:`limbeck.tasks.Task.check`."""
        try:
            maps = maps_by_head(output)
        except UserError as error:
            raise UserError(f"{role}: {error}") from None
        for head, logits in maps.items():
            if logits.ndim != 4:
                of_head = "" if head == MAIN else f" {head!r}"
                got = f"its output{of_head} is {tuple(logits.shape)}"
                raise UserError(f"{role}: {got}, expected maps of logits of shape (N, {num_classes}, H, W)")
        super().check(maps[MAIN], num_classes, role, data)

    def check_targets(self, targets: Any, data: str) -> None:
        """Check that the ground truth is masks of this task's classes; see :meth:`limbeck.tasks.Task.check_targets`."""
        if not isinstance(targets, Tensor):
            return
        if targets.ndim != 3:
            got = f"got {data}, whose samples have no masks"
            raise UserError(f"task {self.name!r}: {got}, expected data of images with masks, such as mask_folder")
        unknown = targets[
            (targets != self.ignore_index) & ((targets < 0) | (targets >= (self.num_classes or torch.inf)))
        ]
        if len(unknown):
            got = f"got {self.ignore_index}, but masks of {data} have {int(unknown[0])}"
            raise UserError(f"task.ignore_index: {got}, expected a class below {self.num_classes} or that value there")


def maps_by_head(output: Any) -> dict[str, Tensor]:
    """Return the maps of logits in a network's output by head.

    Args:
        output: (N, C, h, w) logits, a list or tuple of such maps with the main one first, a mapping with ``main``,
            ``out`` or ``logits`` and perhaps names that begin with ``aux``, or an object with ``.logits``.

    Raises:
        UserError: If there is no map.

    Example:
        >>> list(maps_by_head([torch.zeros(1, 3, 2, 2)] * 3))
        ['main', 'aux', 'aux2']
    """
    if isinstance(output, list | tuple) and output and all(isinstance(part, Tensor) for part in output):
        return {_head(place): part for place, part in enumerate(output)}
    if not isinstance(output, Mapping):
        return {MAIN: output_logits(output)}
    main = output[MAIN] if MAIN in output else output_logits(output)
    heads = {str(name): part for name, part in output.items() if str(name).startswith("aux")}
    return {MAIN: main, **{name: part for name, part in heads.items() if isinstance(part, Tensor)}}


def main_maps(output: Any) -> Tensor:
    """Return the main head's map of logits in a network's output.

    Example:
        >>> main_maps({"out": torch.zeros(1, 3, 2, 2), "aux": torch.zeros(1, 3, 1, 1)}).shape
        torch.Size([1, 3, 2, 2])
    """
    return maps_by_head(output)[MAIN]


def _head(place: int) -> str:
    return MAIN if not place else "aux" if place == 1 else f"aux{place}"


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps of logits bilinearly; to a smaller size by means over the area that a position covers.

    Args:
        maps: (N, C, h, w) logits.
        size: Height and width.

    Returns:
        (N, C, *size) logits, float32 where the size changes.

    Example:
        >>> resized(torch.arange(4.).view(1, 1, 1, 4), (1, 2))
        tensor([[[[0.7143, 2.2857]]]])
    """
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    smaller = size[0] < maps.shape[2] or size[1] < maps.shape[3]
    return F.interpolate(maps.float(), size=tuple(size), mode="bilinear", align_corners=False, antialias=smaller)
