"""What a network does on labeled samples, beyond the figures of its task: by class, by confidence, by sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_average_precision

from limbeck.models.calling import output_logits
from limbeck.rows import ground_truth
from limbeck.tasks import MAIN, Classification, Detection, MultiLabel, Segmentation, Task
from limbeck.tasks.segmentation import main_maps

BINS = 15
# Maps are enlarged for so many samples at a time.
_SAMPLES = 4


@dataclass(frozen=True, eq=False)
class Collected:
    """What a network did on some samples.

    Attributes:
        figures: Those of the task, by name.
        classes: Figures of each class by name, in the order of the classes.
        matrix: int64 (C, C): how many samples or pixels of each true class were predicted as each class, or None.
        bins: (3, 15) of samples, their confidence and how many are right, each summed by confidence, or None.
        samples: The loss of each sample and what it was taken for, in their order; empty for tasks without.

    Example:
        >>> Collected({"map": 0.5}, [{"boxes": 3}]).matrix is None
        True
    """

    figures: Mapping[str, float]
    classes: Sequence[Mapping[str, float]]
    matrix: Tensor | None = None
    bins: Tensor | None = None
    samples: Sequence[Mapping[str, Any]] = ()


class Collector:
    """Counts batches of a network's outputs.

    Args:
        task: The task, with its number of classes and their names.
        temperature: What logits are divided by.

    Example:
        >>> task = Classification(2)
        >>> task.class_names = ("cat", "dog")
        >>> collector = Collector(task)
        >>> collector.update(torch.tensor([[3.0, 0.0], [2.0, 1.0]]), torch.tensor([0, 1]))
        >>> collected = collector.collected()
        >>> collected.figures["accuracy"], collected.matrix.tolist(), collected.samples[1]["true"]
        (0.5, [[1, 0], [1, 0]], 'dog')
    """

    def __init__(self, task: Task, temperature: float = 1.0) -> None:
        self.task, self.temperature = task, temperature
        self.names = task.class_names
        self._evaluator = task.evaluator()
        count = len(self.names)
        self._matrix = torch.zeros(count, count, dtype=torch.int64)
        self._bins = torch.zeros(3, BINS, dtype=torch.float64)
        self._samples: list[dict[str, Any]] = []
        self._several: list[tuple[Tensor, Tensor]] = []
        self._boxes = torch.zeros(count, dtype=torch.int64)

    @torch.no_grad()
    def update(self, output: Any, targets: Any) -> None:
        """Count a batch: what the network returned in eval mode, and the ground truth."""
        if isinstance(self.task, Detection):
            self._evaluator.update(output, targets)
            for target in targets:
                self._boxes += (target["labels"].cpu() - 1).bincount(minlength=len(self.names))
        elif isinstance(self.task, Segmentation):
            self._add_maps(main_maps(output).float() / self.temperature, targets)
        elif isinstance(self.task, MultiLabel):
            self._add_several(output_logits(output).float() / self.temperature, targets)
        elif isinstance(self.task, Classification):
            self._add_classes(self.task.rows(output, None)[MAIN].logits.float() / self.temperature, targets)
        else:
            self._evaluator.update(output, targets)

    def _add_classes(self, logits: Tensor, targets: Tensor) -> None:
        self._evaluator.update(logits, targets)
        truth = ground_truth(targets, logits)
        losses = F.cross_entropy(logits, truth.labels, reduction="none").tolist()
        labeled = [True] * len(logits) if truth.labeled is None else truth.labeled.tolist()
        probabilities, predicted = logits.softmax(dim=1), logits.argmax(dim=1)
        kept = torch.tensor(labeled)
        self._count(probabilities.amax(dim=1).cpu()[kept], (predicted == truth.classes).cpu()[kept])
        self._count_pairs(truth.classes.cpu()[kept], predicted.cpu()[kept])
        for row, (true, made) in enumerate(zip(truth.classes.tolist(), predicted.tolist(), strict=True)):
            if not labeled[row]:
                self._samples.append({})
                continue
            names = {"true": self.names[true], "predicted": self.names[made]}
            shares = {"probability_of_true": float(probabilities[row, true])}
            self._samples.append({"loss": losses[row], **names, **shares, "wrong": true != made})

    def _add_several(self, logits: Tensor, targets: Tensor) -> None:
        self._evaluator.update(logits, targets)
        known, labels = targets >= 0, targets.clamp_min(0)
        losses = F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
        found, probabilities = logits > 0, logits.sigmoid()
        self._count(torch.maximum(probabilities, 1 - probabilities)[known].cpu(), (found == (labels == 1))[known].cpu())
        self._several.append((logits.cpu(), targets.cpu()))
        for row in range(len(logits)):
            if not bool(known[row].any()):
                self._samples.append({})
                continue
            names = {"true": self._listed(targets[row] == 1), "predicted": self._listed(found[row])}
            wrong = bool((found[row] != (labels[row] == 1))[known[row]].any())
            self._samples.append({"loss": float(losses[row][known[row]].mean()), **names, "wrong": wrong})

    def _listed(self, chosen: Tensor) -> str:
        return ";".join(name for name, is_chosen in zip(self.names, chosen.tolist(), strict=True) if is_chosen)

    def _add_maps(self, logits: Tensor, targets: Tensor) -> None:
        assert isinstance(self.task, Segmentation)
        self._evaluator.update(logits, targets)
        for maps, masks in zip(torch.split(logits, _SAMPLES), torch.split(targets, _SAMPLES), strict=True):
            full = F.interpolate(maps, size=masks.shape[1:], mode="bilinear", align_corners=False)
            confidence, predicted = full.softmax(dim=1).amax(dim=1), full.argmax(dim=1)
            counted, right = masks != self.task.ignore_index, predicted == masks
            losses = F.cross_entropy(full, masks.long(), ignore_index=self.task.ignore_index, reduction="none")
            self._count(confidence[counted].cpu(), right[counted].cpu())
            self._count_pairs(masks[counted].long().cpu(), predicted[counted].cpu())
            for row, positions in enumerate(counted):
                number = int(positions.sum())
                share = float(right[row][positions].float().mean()) if number else 0.0
                loss = float(losses[row][positions].mean()) if number else 0.0
                self._samples.append({"loss": loss, "pixel_accuracy": share} if number else {})

    def _count(self, confidence: Tensor, right: Tensor) -> None:
        edges = torch.linspace(0, 1, BINS + 1)
        # As torchmetrics: a bin has its lower edge; 1 counts in the last one.
        place = (torch.bucketize(confidence.float(), edges, right=True) - 1).clamp(0, BINS - 1)
        for row, values in enumerate((torch.ones_like(confidence), confidence, right)):
            self._bins[row] += torch.zeros(BINS, dtype=torch.float64).index_add_(0, place, values.double())

    def _count_pairs(self, true: Tensor, predicted: Tensor) -> None:
        count = len(self.names)
        self._matrix += (true * count + predicted).bincount(minlength=count**2).view(count, count)

    def collected(self) -> Collected:
        """Return what was counted."""
        figures = self._evaluator.compute().numbers()
        if isinstance(self.task, Detection):
            return Collected(figures, self._of_boxes(figures))
        if isinstance(self.task, MultiLabel):
            return Collected(figures, self._of_labels(), None, self._bins, self._samples)
        if isinstance(self.task, Classification | Segmentation):
            return Collected(figures, self._of_pairs(), self._matrix, self._bins, self._samples)
        return Collected(figures, [{} for _ in self.names])

    def _of_boxes(self, figures: Mapping[str, float]) -> list[dict[str, float]]:
        counts = zip(self.names, self._boxes.tolist(), strict=True)
        return [{"boxes": count, **_given(ap=figures.get(f"ap.{name}"))} for name, count in counts]

    def _of_pairs(self) -> list[dict[str, float]]:
        maps = isinstance(self.task, Segmentation)
        right, true, made = self._matrix.diagonal(), self._matrix.sum(dim=1), self._matrix.sum(dim=0)
        rows = []
        for hits, actual, found in zip(right.tolist(), true.tolist(), made.tolist(), strict=True):
            score = {"iou": _share(hits, actual + found - hits)} if maps else {"f1": _share(2 * hits, actual + found)}
            shares = {"precision": _share(hits, found), "recall": _share(hits, actual), **score}
            rows.append({"pixels" if maps else "samples": actual, **_given(**shares)})
        return rows

    def _of_labels(self) -> list[dict[str, float]]:
        logits, targets = (torch.cat(parts) for parts in zip(*self._several, strict=True))
        rows = []
        for scores, labels in zip(logits.T, targets.T, strict=True):
            known = labels >= 0
            found, true = scores[known] > 0, labels[known] == 1
            hits, made, actual = int((found & true).sum()), int(found.sum()), int(true.sum())
            shares = {"precision": _share(hits, made), "recall": _share(hits, actual)}
            shares |= {"f1": _share(2 * hits, made + actual)}
            if actual:
                shares["ap"] = float(binary_average_precision(scores[known].double().sigmoid(), true.long()))
            rows.append({"samples": actual, **_given(**shares)})
        return rows


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _given(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
