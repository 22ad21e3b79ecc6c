"""The call that all feature losses have, and the sum over pairs of layers that most of them are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.losses.features._shapes import Shape, Shapes, channels, check_shapes, full_pair


class RowInfo(NamedTuple):
    """What is known of the rows of a batch beside their features.

    Attributes:
        labels: (N,) true classes, if given.
        weight: (N,) how much each row counts, if given.
        indices: (N,) positions in the training set, if given.
    """

    labels: Tensor | None = None
    weight: Tensor | None = None
    indices: Tensor | None = None


class FeatureLoss(nn.Module, ABC):
    """A loss between the student's and the teacher's features at some pairs of layers.

    Subclasses implement :meth:`compare`. Features are maps (N, C, H, W), tokens (N, T, C) or vectors (N, C). Everything
    is computed in fp32 (float64 stays), the teacher gets no gradient.

    Args:
        student_shapes: Shape of each of the student's features, without the batch dimension.
        teacher_shapes: The same for the teacher, one for each of the student's.
        num_samples: Samples in the training set; needed by losses that remember each.

    Raises:
        UserError: If a shape is none of a map, tokens or a vector, or the two sides differ in number.

    Example:
        >>> class Mean(FeatureLoss):
        ...     def compare(self, students, teachers, rows):
        ...         return (students[0].mean() - teachers[0].mean()).square()
        >>> Mean([(4,)], [(6,)])([torch.ones(2, 4)], [torch.zeros(2, 6)])
        tensor(1.)
    """

    def __init__(self, student_shapes: Shapes, teacher_shapes: Shapes, *, num_samples: int | None = None) -> None:
        super().__init__()
        self.student_shapes = check_shapes(student_shapes, "student_shapes")
        self.teacher_shapes = check_shapes(teacher_shapes, "teacher_shapes")
        self.num_samples = num_samples
        if len(self.student_shapes) != len(self.teacher_shapes):
            expected = f"{len(self.student_shapes)}, one for each of the student's"
            raise UserError(f"teacher_shapes: got {len(self.teacher_shapes)} features, expected {expected}")
        self.shape_pairs = list(zip(self.student_shapes, self.teacher_shapes, strict=True))

    def forward(
        self,
        student_features: Sequence[Tensor],
        teacher_features: Sequence[Tensor],
        labels: Tensor | None = None,
        weight: Tensor | None = None,
        indices: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            student_features: One tensor for each of ``student_shapes``, all with N rows.
            teacher_features: One tensor for each of ``teacher_shapes``, with the same N rows.
            labels: (N,) true classes, for losses that need them.
            weight: (N,) how much each row counts, or a boolean mask; None for all alike.
            indices: (N,) positions in the training set, for losses that need them.

        Returns:
            A scalar.

        Raises:
            UserError: If the features are not those announced, or something needed is missing.
        """
        _check(student_features, self.student_shapes, "student")
        _check(teacher_features, self.teacher_shapes, "teacher")
        with torch.autocast(student_features[0].device.type, enabled=False):
            pairs = zip(student_features, teacher_features, strict=True)
            students, teachers = map(list, zip(*(full_pair(*pair) for pair in pairs), strict=True))
            if not len(students[0]):
                return torch.stack([feature.sum() for feature in students]).sum()
            return self.compare(students, teachers, RowInfo(labels, weight, indices))

    @abstractmethod
    def compare(self, students: list[Tensor], teachers: list[Tensor], rows: RowInfo) -> Tensor:
        """Compare checked features in full precision; return a scalar."""


class PairLoss(FeatureLoss):
    """A loss that is the sum, over the pairs of layers, of one comparison of two features.

    Subclasses implement :meth:`pair`.

    Example:
        >>> class Mean(PairLoss):
        ...     def pair(self, number, student, teacher, weight):
        ...         return (student.mean() - teacher.mean()).square()
        >>> Mean([(4,), (4,)], [(6,), (6,)])([torch.ones(2, 4)] * 2, [torch.zeros(2, 6)] * 2)
        tensor(2.)
    """

    def compare(self, students: list[Tensor], teachers: list[Tensor], rows: RowInfo) -> Tensor:
        """Add the pairs' losses up."""
        pairs = enumerate(zip(students, teachers, strict=True))
        return torch.stack([self.pair(number, *pair, rows.weight) for number, pair in pairs]).sum()

    @abstractmethod
    def pair(self, number: int, student: Tensor, teacher: Tensor, weight: Tensor | None) -> Tensor:
        """Compare one pair of features; ``number`` counts the pairs from 0."""


def _check(features: Sequence[Tensor], shapes: Sequence[Shape], side: str) -> None:
    if len(features) != len(shapes):
        raise UserError(f"{side}_features: got {len(features)}, expected {len(shapes)}")
    for number, (feature, shape) in enumerate(zip(features, shapes, strict=True)):
        actual = tuple(feature.shape[1:])
        # Height and width may differ from the announced ones: only channels have learned layers made for them.
        if len(actual) != len(shape) or channels(actual) != channels(shape):
            raise UserError(f"{side}_features[{number}]: got {tuple(feature.shape)}, expected (N, ...) of {shape}")
