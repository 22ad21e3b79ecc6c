"""The description of a loss that the checks need."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from limbeck.rows import full

Floats = NDArray[np.float64]
Reference = Callable[[Floats, Floats, NDArray[np.int64], Floats], float]


class LossClaims(TypedDict, total=False):
    """What may be claimed of a loss: the optional fields of :class:`LossCase`.

    Example:
        >>> LossClaims(zero_at_teacher=False)
        {'zero_at_teacher': False}
    """

    name: str
    settings: Mapping[str, Any]
    registered: bool
    twin: Callable[..., nn.Module] | None
    zero_at_teacher: bool
    least_classes: int
    bounded: bool
    across_processes: Mapping[str, Any] | None


@dataclass(frozen=True)
class LossCase:
    """One loss under test.

    Attributes:
        loss: A function ``loss(student_logits, teacher_logits, [labels,] *, weight=None, **settings)``, or a module
            called as ``loss(student_logits, teacher_logits, labels, weight)``.
        reference: The same from the equation in NumPy, written without the loss's code, under ``settings``:
            ``reference(student, teacher, labels, weight)`` with float64 logits (N, C), whole labels (N,) and float64
            weights (N,), some of them above 0.
        name: What messages call it.
        settings: Keyword arguments of the loss.
        registered: Whether the loss is called as limbeck calls one from outside, with logits in fp32 and the teacher's
            without a gradient; a loss that is also called by itself should not need that.
        twin: A module class whose instance, made with the same settings, computes the same as the function.
        zero_at_teacher: Whether a student that equals its teacher has no loss.
        least_classes: The fewest classes that make sense.
        bounded: Whether the gradient of a student whose logits hardly vary, such as one with a zero-initialized head,
            is at most 50 times that of cross-entropy. False for a published formula that is kept as it is.
        across_processes: Settings with which the mean over processes that hold equal shares of the rows equals one
            process with all rows; None for a loss with which it does not.

    Example:
        >>> import numpy as np, torch
        >>> from limbeck.losses import logit_mse_loss
        >>> case = LossCase(logit_mse_loss, lambda s, t, y, w: np.average(((s - t) ** 2).mean(1), weights=w))
        >>> case.name, case.takes("labels")
        ('logit_mse_loss', False)
        >>> case(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0]))
        tensor(1.)
    """

    loss: Callable[..., Tensor]
    reference: Reference
    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    registered: bool = False
    twin: Callable[..., nn.Module] | None = None
    zero_at_teacher: bool = True
    least_classes: int = 1
    bounded: bool = True
    across_processes: Mapping[str, Any] | None = field(default_factory=dict)
    _arguments: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        called = self.loss.forward if isinstance(self.loss, nn.Module) else self.loss
        name = self.name or getattr(self.loss, "__name__", type(self.loss).__name__)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "_arguments", frozenset(inspect.signature(called).parameters))

    def takes(self, argument: str) -> bool:
        """Return whether the loss has an argument of this name."""
        return argument in self._arguments

    def __call__(
        self, student: Tensor, teacher: Tensor, labels: Tensor, weight: Tensor | None = None, **more: Any
    ) -> Tensor:
        """Compute the loss, with labels only if it takes them; ``more`` settings replace the case's own."""
        settings = {**self.settings, **more}
        if self.registered:
            student, teacher = full(student), full(teacher.detach())
        if not isinstance(self.loss, nn.Module):
            optional = {"labels": labels, "weight": weight} if self.takes("labels") else {"weight": weight}
            return self.loss(student, teacher, **optional, **settings)
        result: Tensor = self.loss(student, teacher, labels, weight, **settings)
        return result
