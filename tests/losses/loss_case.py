"""What the tester of all losses needs to know of one of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True)
class LossCase:
    """One loss under test.

    Attributes:
        name: For the test's id.
        function: ``function(student, teacher, [labels,] *, weight=None, **settings)``.
        module: Its module twin, called as ``module(student, teacher, labels, weight)``.
        reference: The same from the equation in NumPy float64: ``reference(student, teacher, labels, weight)`` under
            ``settings``; ``weight`` is (N,) numbers, all ones where the loss was given none.
        settings: Keyword arguments of function and module.
        labels: Whether the function takes labels.
        tempered: Whether it takes ``temperature``.
        zero_at_teacher: Whether a student that equals its teacher has no loss.
        least_classes: The fewest classes that make sense.
        published: Whether it is a published formula without the bound that keeps a first step's gradient moderate.
    """

    name: str
    function: Callable[..., Tensor]
    module: Callable[..., nn.Module]
    reference: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], float]
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: bool = False
    tempered: bool = True
    zero_at_teacher: bool = True
    least_classes: int = 1
    published: bool = False

    def __call__(self, student, teacher, labels, weight=None, **more):
        """Call the function, with labels only if it takes them."""
        arguments = (student, teacher, labels) if self.labels else (student, teacher)
        return self.function(*arguments, **{**self.settings, **more}, weight=weight)
