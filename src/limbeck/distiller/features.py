"""The features that a method compares: which layers, of which networks, from one pass of each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limbeck.data.batch import device_of
from limbeck.errors import UserError
from limbeck.methods import Method, Term
from limbeck.models import FeatureExtractor, stage_layers
from limbeck.models.calling import call_network
from limbeck.models.features import Features, probe
from limbeck.teachers import LiveTeacher, Teacher

Names = Sequence[str] | None
Feature = TypeVar("Feature")
Call = Callable[[Any, Any], Any]


class FeaturePairs:
    """Both networks' extractors, and which of their layers each loss compares.

    Args:
        method: Has at least one term of features.
        student: The student.
        teacher: The teacher; a :class:`limbeck.teachers.LiveTeacher`.
        student_layers: Layers of the student to compare; None for the suggested ones.
        teacher_layers: Layers of the teacher, one for each of the student's.
        example: A batch of inputs, which gives the features' shapes.
        num_samples: Samples in the training set, for losses that remember each.

    Raises:
        UserError: If the teacher is no network, the example is missing or does not fit, layers are unknown or differ
            in number, or cannot be suggested.

    Example:
        >>> from limbeck import methods, models
        >>> networks = [models.create("resnet8", num_classes=10) for _ in range(2)]
        >>> method, example = methods.create("fitnet+sp"), torch.zeros(2, 3, 32, 32)
        >>> feature_pairs = FeaturePairs(method, networks[0], LiveTeacher(networks[1]), example=example)
        >>> feature_pairs.student.layers, feature_pairs.chosen
        (('layer2', 'layer3'), {'fitnet': (0,), 'sp': (1,)})
    """

    def __init__(
        self,
        method: Method,
        student: nn.Module,
        teacher: Teacher | None,
        *,
        student_layers: Names = None,
        teacher_layers: Names = None,
        example: Any = None,
        num_samples: int | None = None,
    ) -> None:
        if not isinstance(teacher, LiveTeacher):
            got = type(teacher).__name__
            raise UserError(f"method {method.name!r}: compares features, needs a network as teacher, got {got}")
        if example is None:
            raise UserError(f"example: got NoneType, expected a batch of inputs, as {method.name!r} compares features")
        self.live, self.num_samples = teacher, num_samples
        adapted = self._adapted(example)
        sides = {"student": (student, student_layers, example), "teacher": (teacher.network, teacher_layers, adapted)}
        pairs = list(zip(*_layers(sides), strict=True))
        is_named = bool(student_layers or teacher_layers)
        places = {term.name: _places(term, len(pairs), is_named) for term in method.terms if term.features}
        compared = sorted({place for chosen in places.values() for place in chosen})
        self.chosen = {name: tuple(map(compared.index, chosen)) for name, chosen in places.items()}
        self.student = FeatureExtractor(student, [pairs[place][0] for place in compared])
        self.teacher = FeatureExtractor(teacher.network, [pairs[place][1] for place in compared])
        self.student_shapes, self.teacher_shapes = probe(self.student, example), probe(self.teacher, adapted)

    def _adapted(self, inputs: Any) -> Any:
        adapter = self.live.adapter
        if adapter is None:
            return inputs
        buffer = next(adapter.buffers(), None)
        if buffer is not None:
            inputs = pytree.tree_map_only(Tensor, lambda part: part.to(buffer.device), inputs)
        with torch.no_grad():
            return adapter(inputs)

    def build(self, term: Term) -> nn.Module:
        """Make a term's loss for the layers that it compares.

        Raises:
            UserError: If the loss cannot compare such features, or needs ``num_samples``.
        """
        shapes = (self.of(term, shapes) for shapes in (self.student_shapes, self.teacher_shapes))
        return term.loss(*shapes, num_samples=self.num_samples)

    def of(self, term: Term, features: Sequence[Feature]) -> list[Feature]:
        """Pick the features, or their shapes, that a term compares."""
        return [features[position] for position in self.chosen[term.name]]

    def run_student(self, inputs: Any, call: Call = call_network) -> Features:
        """Run the student for its output and features, as ``call`` runs a network on inputs."""
        return self.student.called(call, inputs)

    def run_teacher(self, inputs: Any, call: Call = call_network) -> Features:
        """Run the teacher, behind its input adapter, for its output and features; without a graph."""
        self.live.keep_mode()
        with torch.no_grad():
            adapted = inputs if self.live.adapter is None else self.live.adapter(inputs)
            with self.live.computing(device_of(inputs).type):
                output, features = self.teacher.called(call, adapted)
            return self.live.in_classes(output), features


def _places(term: Term, count: int, is_named: bool) -> tuple[int, ...]:
    # Layers given by name are all compared.
    if term.layers == "all" or is_named:
        return tuple(range(count))
    return (count - 1,) if term.layers == "last" else ((count - 1) // 2,)


def _layers(sides: Mapping[str, tuple[nn.Module, Names, Any]]) -> list[list[str]]:
    """Return as many layers of either network: those given by name, else the last stages."""
    for side, (_, names, _) in sides.items():
        if names is not None and (isinstance(names, str) or not names):
            raise UserError(f"{side} layers: got {names!r}, expected a list of names")
    counts = [len(names) for _, names, _ in sides.values() if names is not None]
    if len(set(counts)) == 2:
        raise UserError(f"teacher layers: got {counts[1]}, expected {counts[0]}, one for each of the student's")
    layers = [list(names or stage_layers(network, inputs)) for network, names, inputs in sides.values()]
    count = counts[0] if counts else max(min(map(len, layers)), 1)
    for side, stages in zip(sides, layers, strict=True):
        if len(stages) < count:
            raise UserError(f"{side} layers: found {len(stages)} stages to compare, expected {count}: name layers")
    return [stages[-count:] for stages in layers]
