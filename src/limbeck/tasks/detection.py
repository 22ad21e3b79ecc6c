"""Detection: the regions that a detector classifies are rows of logits, or its anchors, a row for each class."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.models.detectors.calling import at_places, check_pair, detected, stage_count, trained
from limbeck.models.detectors.output import Anchors, DetectorOutput
from limbeck.rows import Rows
from limbeck.tasks.base import Task
from limbeck.tasks.boxes import check_boxes, checked_images, without_crowds
from limbeck.tasks.metrics import Evaluator, Metric
from limbeck.tasks.positions import rows_at, spread_positions
from limbeck.teachers import LabelTeacher, LiveTeacher, Teacher


class Detection(Task):
    """Boxes of C classes in an image, by torchvision's detectors.

    Inputs are ``{"images": [...]}`` or a list of (3, H, W) floats in [0, 1], of any sizes. Ground truth is for each
    image ``{"boxes": (B, 4) float x1 y1 x2 y2 in pixels, "labels": (B,) int64 of 1 to C}``, and perhaps ``"crowd"``,
    (B,) bool: boxes that are left out of the training.

    In train mode a detector is run once, part by part. Of a Faster R-CNN each sampled proposal is a row of C + 1
    logits, class 0 the background; the teacher classifies the student's proposals. Of a RetinaNet each anchor and class
    is a row of two logits, (0, z), and each level of the pyramid a head; the teacher must have the same anchors. The
    losses with the ground truth are the detector's own.

    Args:
        num_classes: Number of classes C, without the background; needed by :meth:`evaluator`.
        stages: 2 for Faster R-CNN, 1 for RetinaNet; needed with a RetinaNet by methods whose teacher's logits are made
            from labels (``lw_kd``, ``tf_kd_reg``), which need the number of logits of a row.
        positions: How many rows of an image and level count for the losses against the teacher, spread over them and
            drawn anew in each epoch; None for all.
        seed: Of these draws, which depend on it, on the epoch and on the sample alone.

    Raises:
        UserError: If a setting is out of range.

    References:
        Logits of the student's regions, sigmoids of anchors, each level apart: Huang et al., Knowledge Distillation
        from a Stronger Teacher, arXiv 2205.10536, by its code. Rows of two and ``positions`` are ours.

    Example:
        >>> from limbeck import Distiller, models
        >>> student, teacher = (models.create("small_detector", num_classes=3, width=width) for width in (8, 16))
        >>> distiller = Distiller(student, teacher, "dist", task=Detection(3))
        >>> target = {"boxes": torch.tensor([[4., 4., 30., 30.]]), "labels": torch.tensor([2])}
        >>> sorted(distiller({"images": [torch.rand(3, 64, 64)]}, [target]).parts)
        ['box_reg', 'ce', 'dist', 'objectness', 'rpn_box_reg']
    """

    name = "detection"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("map", "mAP"), Metric("map_50", "AP50"), Metric("map_75", "AP75"))
    several_rows = True
    by_parts = True

    def __init__(
        self, num_classes: int | None = None, *, stages: int = 2, positions: int | None = None, seed: int = 0
    ) -> None:
        super().__init__(num_classes)
        if stages not in (1, 2):
            raise UserError(f"task.stages: got {stages}, expected 1 (RetinaNet) or 2 (Faster R-CNN)")
        if positions is not None and positions < 1:
            raise UserError(f"task.positions: got {positions}, expected a whole number of at least 1")
        self.stages, self.positions, self.seed = stages, positions, seed

    @property
    def row_classes(self) -> int | None:
        """The number of logits of a row: the classes and the background, or 2 of a one-stage detector."""
        if self.stages == 1:
            return 2
        return None if self.num_classes is None else self.num_classes + 1

    def call(self, network: nn.Module, inputs: Any) -> Any:
        """Run a detector: at another's regions or anchors if given, else to train it in train mode, else for boxes."""
        images = checked_images(inputs)
        if isinstance(inputs, Mapping) and "places" in inputs:
            return at_places(network, images, inputs["places"])
        if network.training:
            return trained(network, images, self._targets(inputs, images))
        return detected(network, images)

    def _targets(self, inputs: Any, images: Sequence[Tensor]) -> Sequence[Mapping[str, Tensor]]:
        if isinstance(inputs, Mapping) and "targets" in inputs:
            targets: Sequence[Mapping[str, Tensor]] = inputs["targets"]
            return targets
        # A trial of the network, without ground truth.
        nothing = {"boxes": images[0].new_zeros(0, 4), "labels": images[0].new_zeros(0, dtype=torch.int64)}
        return [nothing] * len(images)

    def student_inputs(self, inputs: Any, targets: Any) -> Any:
        """Return the images with their boxes, those of crowds left out."""
        images = checked_images(inputs)
        check_boxes(targets, len(images), self.num_classes)
        return {"images": images, "targets": [without_crowds(target) for target in targets]}

    def teacher_inputs(self, inputs: Any, student_output: Any) -> Any:
        """Return the images with the student's regions or anchors."""
        return {"images": checked_images(inputs), "places": _trained_output(student_output).places}

    def check_teacher(self, student: nn.Module, teacher: nn.Module) -> None:
        """Check that the teacher is one network of the student's kind; see :meth:`limbeck.tasks.Task.check_teacher`."""
        if isinstance(teacher, LabelTeacher):
            self._check_stages(student)
            return
        if isinstance(teacher, Teacher) and not isinstance(teacher, LiveTeacher):
            expected = "expected one network, which is run on what the student found"
            raise UserError(f"task {self.name!r}: got a {type(teacher).__name__} as teacher, {expected}")
        check_pair(student, teacher.network if isinstance(teacher, LiveTeacher) else teacher)

    def _check_stages(self, student: nn.Module) -> None:
        stages = stage_count(student)
        if stages not in (None, self.stages):
            needed = f"as the student is a {type(student).__name__} and the teacher's logits are made from labels"
            raise UserError(f"task.stages: got {self.stages}, expected {stages}, {needed}")

    def rows(self, output: Any, targets: Any) -> Mapping[str, Rows]:  # noqa: ARG002 - the detector had them
        """Return the rows of a detector that was run to be trained, or at another's places.

        Raises:
            UserError: If the output is that of eval mode, which has boxes and no rows.
        """
        return _trained_output(output).heads

    def taught(self, rows: Rows, logits: Tensor, indices: Tensor | None, epoch: int) -> tuple[Rows, Tensor]:
        """Return ``positions`` rows of each sample, spread over them, and the teacher's logits of these."""
        if self.positions is None or rows.sample is None or rows.sample.numel() == 0:
            return rows, logits
        picked = spread_positions(rows.sample, self.positions, indices, seed=self.seed, epoch=epoch)
        return rows_at(rows, picked), logits[picked]

    def ground_truth(
        self,
        output: Any,
        rows: Mapping[str, Rows],
        *,
        label_smoothing: float = 0.0,
        total: Tensor | float | None = None,
    ) -> dict[str, Tensor]:
        """Return the detector's own losses, ``main`` that of the classes; see :meth:`limbeck.tasks.Task.ground_truth`.

        Raises:
            UserError: If labels are to be smoothed for a one-stage detector, which has no cross-entropy.
        """
        own = output.losses if isinstance(output, DetectorOutput) else {}
        if own and not label_smoothing:
            return dict(own)
        if own and isinstance(output.places, Anchors):
            raise UserError(f"label_smoothing: got {label_smoothing}, expected 0 for RetinaNet, whose loss is focal")
        of_rows = super().ground_truth(None, rows, label_smoothing=label_smoothing, total=total)
        return {**own, **of_rows}

    def figures(self, rows: Mapping[str, Rows]) -> dict[str, Tensor]:  # noqa: ARG002 - most rows are background
        """Return nothing: the share of right rows is no measure where most are background."""
        return {}

    def evaluator(self) -> Evaluator:
        """Return an evaluator of COCO's mean average precision.

        Raises:
            UserError: If the number of classes is not known, or pycocotools is missing.
        """
        from limbeck.tasks.detection_figures import DetectionEvaluator

        if self.num_classes is None:
            raise UserError("num_classes: got None, expected the number of classes to measure")
        return DetectionEvaluator(self.class_names or tuple(map(str, range(1, self.num_classes + 1))))

    def check(self, output: Any, num_classes: int, role: str, data: str) -> None:
        """Check that an output is a detector's, in either mode; see :meth:`limbeck.tasks.Task.check`."""
        if isinstance(output, DetectorOutput):
            places, logits = output.places, output.heads["main"].logits
            columns = places.classes if isinstance(places, Anchors) else logits.shape[1]
            if columns != num_classes + 1:
                got = f"gives {columns} classes with the background"
                raise UserError(f"{role}: {got}, expected {num_classes + 1}, for the {num_classes} of {data}")
        elif not _are_boxes(output):
            expected = "expected boxes, labels and scores of each image, as torchvision's detectors give them"
            raise UserError(f"{role}: its output is {type(output).__name__}, {expected}")

    def check_targets(self, targets: Any, data: str) -> None:
        """Check that the ground truth is boxes; see :meth:`limbeck.tasks.Task.check_targets`."""
        if not isinstance(targets, list | tuple):
            expected = "expected data of images with boxes, such as coco or voc"
            raise UserError(f"task {self.name!r}: got {data}, whose samples have no boxes, {expected}")


def _are_boxes(output: Any) -> bool:
    keys = {"boxes", "labels", "scores"}
    return isinstance(output, list) and all(isinstance(part, Mapping) and keys <= set(part) for part in output)


def _trained_output(output: Any) -> DetectorOutput:
    if not isinstance(output, DetectorOutput):
        got = "boxes, as a detector gives them in eval mode" if _are_boxes(output) else type(output).__name__
        raise UserError(f"output: got {got}, expected that of train mode, which has rows of logits")
    return output
