"""The features that a method compares: which layers, of which networks, from one pass of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.methods import Method, Term
from limbeck.models import FeatureExtractor, stage_layers
from limbeck.models.features import Features, probe
from limbeck.teachers import LiveTeacher, Teacher

Names = Sequence[str] | None
Feature = TypeVar("Feature")


@dataclass(frozen=True)
class FeatureOptions:
    """What a user may say about features; see :class:`limbeck.Distiller`.

    Attributes:
        student_layers: Layers of the student to compare; None for the suggested ones.
        teacher_layers: Layers of the teacher, one for each of the student's.
        example: A batch of inputs, to learn the features' shapes from.
        num_samples: Images in the training set, for losses that remember each.

    Example:
        >>> FeatureOptions(student_layers=["layer3"]).teacher_layers is None
        True
    """

    student_layers: Names = None
    teacher_layers: Names = None
    example: Tensor | None = None
    num_samples: int | None = None


class FeaturePairs:
    """Both networks' extractors, and which of their layers each loss compares.

    Args:
        method: Has at least one term of features.
        student: The student.
        teacher: The teacher; a :class:`limbeck.teachers.LiveTeacher`.
        sources: What the user said.

    Raises:
        UserError: If the teacher is no network, the example is missing or does not fit, layers are unknown or differ
            in number, or cannot be suggested.

    Example:
        >>> from limbeck import methods, models
        >>> networks = [models.create("resnet8", num_classes=10) for _ in range(2)]
        >>> sources = FeatureOptions(example=torch.zeros(2, 3, 32, 32))
        >>> method = methods.create("fitnet")
        >>> feature_pairs = FeaturePairs(method, networks[0], LiveTeacher(networks[1]), sources)
        >>> feature_pairs.student.layers, feature_pairs.chosen
        (('layer1', 'layer2', 'layer3'), {'fitnet': (1,)})
    """

    def __init__(self, method: Method, student: nn.Module, teacher: Teacher | None, sources: FeatureOptions) -> None:
        if not isinstance(teacher, LiveTeacher):
            got = type(teacher).__name__
            raise UserError(f"method {method.name!r}: compares features, needs a network as teacher, got {got}")
        if not isinstance(sources.example, Tensor):
            got = type(sources.example).__name__
            raise UserError(f"example: got {got}, expected a batch of inputs, as {method.name!r} compares features")
        self.live, self.num_samples, example = teacher, sources.num_samples, sources.example
        self._named = bool(sources.student_layers or sources.teacher_layers)
        adapted = self._adapted(example)
        own, other = _layers(student, teacher.network, sources, example, adapted)
        self.student, self.teacher = FeatureExtractor(student, own), FeatureExtractor(teacher.network, other)
        self.student_shapes, self.teacher_shapes = probe(self.student, example), probe(self.teacher, adapted)
        self.chosen = {term.name: self._positions(term) for term in method.terms if term.features}

    def _adapted(self, inputs: Tensor) -> Tensor:
        adapter = self.live.adapter
        if adapter is None:
            return inputs
        with torch.no_grad():
            buffer = next(adapter.buffers(), inputs)
            adapted: Tensor = adapter(inputs.to(buffer.device))
        return adapted

    def _positions(self, term: Term) -> tuple[int, ...]:
        count = len(self.student.layers)
        # Layers that were named are all meant.
        if term.layers == "all" or self._named:
            return tuple(range(count))
        return (count - 1,) if term.layers == "last" else ((count - 1) // 2,)

    def build(self, term: Term) -> nn.Module:
        """Make a term's loss for the layers that it compares.

        Raises:
            UserError: If the loss cannot compare such features, or needs ``num_samples``.
        """
        own, other = (self.of(term, shapes) for shapes in (self.student_shapes, self.teacher_shapes))
        return term.loss(own, other, num_samples=self.num_samples)

    def of(self, term: Term, features: Sequence[Feature]) -> list[Feature]:
        """Pick the features, or their shapes, that a term compares."""
        return [features[position] for position in self.chosen[term.name]]

    def follow(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Apply ``fn`` to what the extractors hold beside the networks; see ``FeatureExtractor.follow``."""
        self.student.follow(fn)
        self.teacher.follow(fn)

    def run_teacher(self, inputs: Tensor) -> Features:
        """Run the teacher, behind its input adapter, for logits and features; without a graph."""
        self.live.keep_mode()
        with torch.no_grad():
            adapted = inputs if self.live.adapter is None else self.live.adapter(inputs)
            with self.live.computing(inputs.device.type):
                asked: Features = self.teacher(adapted)
        return asked


def _layers(
    student: nn.Module, teacher: nn.Module, sources: FeatureOptions, example: Tensor, adapted: Tensor
) -> tuple[list[str], list[str]]:
    own, other = sources.student_layers, sources.teacher_layers
    for side, names in (("student", own), ("teacher", other)):
        if names is not None and (isinstance(names, str) or not names):
            raise UserError(f"{side} layers: got {names!r}, expected a list of names")
    if own is not None and other is not None:
        if len(own) != len(other):
            raise UserError(f"teacher layers: got {len(other)}, expected {len(own)}, one for each of the student's")
        return list(own), list(other)
    stages = list(own or stage_layers(student, example)), list(other or stage_layers(teacher, adapted))
    count = len(own or other or min(stages, key=len))
    for side, names in zip(("student", "teacher"), stages, strict=True):
        if len(names) < max(count, 1):
            raise UserError(
                f"{side} layers: found {len(names)} stages to compare, expected {max(count, 1)}: name layers"
            )
    return stages[0][-count:], stages[1][-count:]
