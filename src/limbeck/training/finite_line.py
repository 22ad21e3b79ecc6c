"""The line about a step whose loss, gradient or teacher's logits are not finite."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limbeck.cache import CachedTeacher
from limbeck.data.batch import Batch
from limbeck.distiller import Distiller
from limbeck.teachers import Teacher

_LISTED = 5
_REMEDY = "try a lower learning rate or clip_norm"


class Place(NamedTuple):
    """A step of a training.

    Attributes:
        epoch: The epoch, from 0.
        step: The step within it, from 1.
        steps: How many steps an epoch has.

    Example:
        >>> str(Place(2, 17, 32))
        'epoch 3, step 17 of 32'
    """

    epoch: int
    step: int
    steps: int

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.step} of {self.steps}"


class Values(NamedTuple):
    """What is known of a step.

    Attributes:
        place: Which step it is.
        batch: Its batch.
        parts: The names of the loss's parts.
        losses: (1 + parts,) the loss and its parts.
        teacher: (R,) the largest absolute logit of each row of the teacher, by head; none where they were not kept.
        student: The same of the student.
        sample: (R,) the sample that each row belongs to, by head; None where a sample is one row.
        gradients: The parameters whose gradient is not finite.
    """

    place: Place
    batch: Batch
    parts: tuple[str, ...]
    losses: Tensor
    teacher: dict[str, Tensor]
    student: Mapping[str, Tensor] = {}
    sample: Mapping[str, Tensor | None] = {}
    gradients: tuple[str, ...] = ()

    def is_finite(self, *, logits: bool) -> bool:
        """Return whether losses and the teacher's logits are finite, and the student's with ``logits``."""
        rows = [*self.teacher.values(), *(self.student.values() if logits else ())]
        return all(bool(values.isfinite().all()) for values in (self.losses, *rows))


def line(values: Values, found: Tensor | None, teacher: Teacher | None) -> str:
    """Return the line: which step, what is not finite, for which samples, the largest logits, and a remedy.

    Args:
        values: The step.
        found: (N,) bool, the samples that :func:`samples_with_infinite_gradient` returned.
        teacher: The run's teacher.

    Example:
        >>> batch = Batch(torch.zeros(2, 4), torch.tensor([0, 1]), torch.tensor([7, 5]))
        >>> rows = {"main": torch.tensor([3.25, torch.nan])}
        >>> values = Values(Place(0, 2, 9), batch, ("ce",), torch.full((2,), torch.nan), {}, rows)
        >>> for text in line(values, None, None).split("; "):
        ...     print(text)
        epoch 1, step 2 of 9: the loss part ce is nan in 1 of the batch's 2 samples (index 5)
        largest logits: student nan (else 3.25)
        try a lower learning rate or clip_norm
    """
    subject, remedy = _subject(values, teacher)
    bad_teacher = _bad_samples(values, values.teacher)
    bad_student = _bad_samples(values, values.student)
    concerned = bad_teacher if bad_teacher is not None else bad_student if bad_student is not None else found
    inputs = _bad_inputs(values.batch)
    if inputs is not None:
        concerned, remedy = inputs, "the inputs of these samples are nan or inf, check the data"
    largest = [f"{who} {_number(rows)}" for who, rows in _both(values) if rows]
    shown = f"largest logits: {', '.join(largest)}" if largest else ""
    return "; ".join(filter(None, [f"{values.place}: {subject} {_samples(values.batch, concerned)}", shown, remedy]))


def _both(values: Values) -> list[tuple[str, Mapping[str, Tensor]]]:
    return [("student", values.student), ("teacher", values.teacher)]


def _subject(values: Values, teacher: Teacher | None) -> tuple[str, str]:
    if any(not bool(largest.isfinite().all()) for largest in values.teacher.values()):
        stored = isinstance(teacher, CachedTeacher)
        remedy = "check its weights, its normalization and teacher.precision"
        if stored:
            remedy = "limbeck cache check finds damaged rows, limbeck cache clear deletes them all"
        return f"the teacher's {'stored ' if stored else ''}logits are nan or inf", remedy
    loss, *parts = values.losses.tolist()
    bad = [(name, value) for name, value in zip(values.parts, parts, strict=True) if not math.isfinite(value)]
    if bad:
        found = ", ".join(dict.fromkeys(str(value) for _, value in bad))
        names = ", ".join(name for name, _ in bad)
        return f"the loss part{'s' if len(bad) > 1 else ''} {names} {'are' if len(bad) > 1 else 'is'} {found}", _REMEDY
    if not math.isfinite(loss):
        return f"the loss is {loss}", _REMEDY
    if not values.gradients and not values.is_finite(logits=True):
        return "the student's logits are nan or inf", _REMEDY
    if not values.gradients:
        return f"a gradient is nan or inf (of a loss of {loss:.4g})", f"training.check_finite names it; {_REMEDY}"
    # The backward begins with the last layer: the last one with such a gradient is where it arose.
    name, more = values.gradients[-1].removeprefix("student."), len(values.gradients) - 1
    further = f" and of {more} more" if more else ""
    remedy = f"look for a division by 0 or a root of 0 behind it, or {_REMEDY}"
    return f"the gradient of {name}{further} is nan or inf (of a loss of {loss:.4g})", remedy


def _bad_samples(values: Values, largest: Mapping[str, Tensor]) -> Tensor | None:
    """Return (N,) bool, the samples with a row that is not finite; None if there is none."""
    flags = torch.zeros(values.batch.size, dtype=torch.bool)
    for head, rows in largest.items():
        flags |= _of_samples(~rows.isfinite().cpu(), values.sample.get(head), len(flags))
    return flags if flags.any() else None


def _of_samples(bad: Tensor, sample: Tensor | None, size: int) -> Tensor:
    flags = torch.zeros(size, dtype=torch.bool)
    places = bad.nonzero()[:, 0] if sample is None else sample.cpu()[bad]
    flags[places[places < size]] = True
    return flags


def _bad_inputs(batch: Batch) -> Tensor | None:
    leaves = [leaf for leaf in pytree.tree_leaves(batch.inputs) if isinstance(leaf, Tensor)]
    flags = torch.zeros(batch.size, dtype=torch.bool)
    for leaf in leaves:
        if leaf.is_floating_point() and leaf.ndim and len(leaf) == len(flags):
            flags |= ~leaf.isfinite().flatten(1).all(dim=1).cpu() if leaf.ndim > 1 else ~leaf.isfinite().cpu()
    return flags if flags.any() else None


def _samples(batch: Batch, concerned: Tensor | None) -> str:
    size = batch.size
    places = torch.arange(size) if concerned is None else concerned.nonzero()[:, 0]
    numbers = places if batch.indices is None else batch.indices.cpu()[places]
    listed = ", ".join(str(int(number)) for number in numbers[:_LISTED]) + (", ..." if len(numbers) > _LISTED else "")
    which = "index" if batch.indices is not None else "position in the batch"
    count = f"{len(places)} of the batch's {size} samples" if concerned is not None else f"a batch of {size} samples"
    return f"in {count} ({which} {listed})"


def _number(by_head: Mapping[str, Tensor]) -> str:
    largest = torch.cat([rows.float().cpu() for rows in by_head.values()])
    if not len(largest):
        return "none"
    finite = largest[largest.isfinite()]
    most = f"{float(finite.max()):.3g}" if len(finite) else ""
    if len(finite) == len(largest):
        return most
    return f"{float(largest.max()):g}" + (f" (else {most})" if most else "")


def samples_with_infinite_gradient(distiller: Distiller, values: Values) -> Tensor | None:
    """Run a distiller once more on a step's batch and return the samples from which nan or inf comes.

    Args:
        distiller: With the weights of before the step.
        values: The step.

    Returns:
        (N,) bool: those whose logits, else whose inputs, have a gradient of the loss that is not finite; None if that
        does not show.
    """
    batch = values.batch
    inputs: Any = batch.inputs
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        inputs = inputs.detach().requires_grad_()
    try:
        with torch.enable_grad():
            out = distiller(inputs, batch.targets, batch.indices, values.place.epoch)
            sources = {head: rows.logits for head, rows in out.rows.items() if rows.logits.requires_grad}
            leaves = [*sources.values(), *([inputs] if inputs is not batch.inputs else [])]
            gradients = torch.autograd.grad(out.loss, leaves, allow_unused=True)
    # What fails with such numbers may fail in any way, and the line about the step is there without it.
    except (RuntimeError, ValueError, IndexError):
        return None
    flags = torch.zeros(batch.size, dtype=torch.bool)
    for head, gradient in zip(sources, gradients, strict=False):
        if gradient is not None:
            flags |= _of_samples(~gradient.isfinite().all(dim=1).cpu(), out.rows[head].sample, len(flags))
    if not flags.any() and inputs is not batch.inputs and gradients[-1] is not None:
        flags = ~gradients[-1].isfinite().flatten(1).all(dim=1).cpu()
    return flags if flags.any() else None
