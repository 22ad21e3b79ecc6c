"""Stop a training at the step whose loss, gradient or teacher's logits are not finite."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.utils import get_total_norm

from limbeck.data.batch import Batch
from limbeck.distiller import Distiller, Output
from limbeck.errors import RunError
from limbeck.ranks import are_several
from limbeck.training.finite_line import Place, Values, line, samples_with_infinite_gradient
from limbeck.training.mixed import LayerwisePrecision

# So many steps may be under way on a device before the first of them is looked at: enough to keep it busy.
LAG = 3
# Gradients that are inf are what moves fp16's loss scale; so many steps in a row, or such a scale, are a fault.
MOST_LEFT_OUT = 100
LEAST_SCALE = 2.0**-14


class NotFiniteError(RunError):
    """A training ended at a step whose loss, gradient or teacher's logits are not finite.

    Example:
        >>> issubclass(NotFiniteError, RunError)
        True
    """


class _Pending(NamedTuple):
    """A step whose numbers are on their way from the device."""

    values: Values
    copied: Tensor
    done: Callable[[], bool]


class FiniteWatch:
    """Look at the loss, the gradient and the teacher's logits of every step.

    Args:
        distiller: What is trained.
        fabric: Device and precision.
        steps: How many steps an epoch has.
        logits: Look at the student's logits too, which can be infinite where the loss is not.
        deferred: Read a step's numbers when the device has come to them, at most :data:`LAG` steps later, instead of
            waiting for them: the weights may be spoilt by then, but no checkpoint is written before they are read.

    Example:
        >>> fabric = Fabric(accelerator="cpu", devices=1)
        >>> distiller = Distiller(torch.nn.Linear(4, 3), method="none")
        >>> watch = FiniteWatch(distiller, fabric, steps=10, logits=False, deferred=False)
        >>> batch = Batch(torch.full((2, 4), torch.nan), torch.tensor([0, 1]), torch.tensor([7, 5]))
        >>> with watch.epoch():
        ...     watch.at(Place(0, 1, 10))
        ...     out = distiller(*batch)
        ...     out.loss.backward()
        ...     watch.check(batch, out)
        Traceback (most recent call last):
        limbeck.training.finite.NotFiniteError: epoch 1, step 1 of 10: the loss part ce is nan in 2 of the batch's ...
    """

    def __init__(self, distiller: Distiller, fabric: Fabric, *, steps: int, logits: bool, deferred: bool) -> None:
        self._distiller, self._fabric, self._logits, self._deferred = distiller, fabric, logits, deferred
        self._place = Place(0, 0, steps)
        self._active, self._left_out = False, 0
        self._teacher: dict[str, Tensor] = {}
        self._pending: deque[_Pending] = deque()
        self._failure: str | None = None

    @property
    def place(self) -> Place:
        """The step that was begun last."""
        return self._place

    @contextmanager
    def epoch(self, *, active: bool = True) -> Iterator[None]:
        """Look at the steps within the block.

        Args:
            active: False where steps are recorded, and nothing of them can be looked at.
        """
        self._active = active
        self._distiller.observer = self._observe if active else None
        try:
            yield
            if active:
                self.check_weights()
        finally:
            self._distiller.observer = None
            self._active = False
            self._pending.clear()
            self._teacher.clear()

    def at(self, place: Place) -> None:
        """Begin a step."""
        self._place = place
        self._teacher.clear()

    @torch.no_grad()
    def _observe(self, head: str, logits: Tensor) -> None:
        if self._deferred:
            self._teacher[head] = _largest(logits)
        elif not math.isfinite(float(logits.sum())):
            # Finite logits can have an infinite sum in half precision.
            largest = _largest(logits)
            if not largest.isfinite().all():
                self._teacher[head] = largest

    def check(self, batch: Batch, out: Output, *, last: bool = True) -> None:
        """Look at a step after its backward and before the optimizer changes the weights.

        Args:
            batch: The batch.
            out: What the distiller returned for it.
            last: Whether no other batch makes the same step. Of several processes all stop at the last one, when the
                gradients that they exchanged are not finite in any of them.

        Raises:
            NotFiniteError: If something of it, or of one of the steps before, is not finite.
        """
        if not self._active:
            return
        with torch.no_grad():
            losses = torch.stack([out.loss, *out.parts.values()]).float()
            norm = self._gradient_norm()
            rows = [*self._teacher.values(), *(_largest(rows.logits) for rows in out.rows.values() if self._logits)]
            largest = [entries.max() for entries in rows if len(entries)]
            seen = torch.cat([losses, torch.stack([norm, *largest]).float()])
        values = Values(self._place, batch, tuple(out.parts), losses, dict(self._teacher))
        if self._deferred:
            self._defer(values, seen, out)
        elif not all(map(math.isfinite, seen.tolist())):
            self._failure = self._failure or self._found(values, out)
        if self._failure and (last or not are_several()):
            raise NotFiniteError(self._failure)

    def _gradient_norm(self) -> Tensor:
        if self._scaled:
            return torch.zeros((), device=self._fabric.device)
        # The largest entry cannot overflow, but takes a CPU ten times as long as the root of the sum of squares.
        return total_norm([g for _, g in self._gradients()], math.inf if self._deferred else 2.0, self._fabric.device)

    def _gradients(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._distiller.named_parameters():
            if parameter.grad is not None and parameter.numel():
                yield name, parameter.grad

    @property
    def _scaled(self) -> bool:
        precision = self._fabric.strategy.precision
        return isinstance(precision, LayerwisePrecision) and precision.scaler is not None

    def _found(self, values: Values, out: Output) -> str | None:
        names = () if self._scaled else tuple(name for name, g in self._gradients() if not g.isfinite().all())
        student = {head: _largest(rows.logits) for head, rows in out.rows.items()}
        sample = {head: rows.sample for head, rows in out.rows.items()}
        values = values._replace(gradients=names, student=student, sample=sample)
        if not names and values.is_finite(logits=self._logits):
            # The sum of squares of a large gradient overflows before the gradient does.
            return None
        # Other processes would wait for this one, or this one for them.
        found = None if are_several() else self._run_again(values)
        return line(values, found, self._distiller.teacher)

    def _run_again(self, values: Values) -> Tensor | None:
        kept: dict[str, Tensor] = {}
        self._distiller.observer = lambda head, logits: kept.update({head: _largest(logits)})
        with self._fabric.autocast():
            found = samples_with_infinite_gradient(self._distiller, values)
        for head, largest in kept.items():
            values.teacher.setdefault(head, largest)
        return found

    def _defer(self, values: Values, seen: Tensor, out: Output) -> None:
        with torch.no_grad():
            student = {head: _largest(rows.logits) for head, rows in out.rows.items()}
        sample = {head: rows.sample for head, rows in out.rows.items()}
        values = values._replace(student=student, sample=sample)
        self._pending.append(_Pending(values, *copied_to_host(seen)))
        while self._pending and (len(self._pending) > LAG or self._pending[0].done()):
            self._read(self._pending.popleft())

    def _read(self, step: _Pending) -> None:
        while not step.done():
            torch.cuda.current_stream().synchronize()
        if not all(map(math.isfinite, step.copied.tolist())):
            raise NotFiniteError(line(step.values, None, self._distiller.teacher))

    def finish(self) -> None:
        """Look at all steps so far, which waits for the device.

        Raises:
            NotFiniteError: As for :meth:`check`.
        """
        while self._pending:
            self._read(self._pending.popleft())

    def stepped(self, taken: bool) -> None:
        """Count a step that an optimizer took, or left out because fp16's gradients were inf.

        Raises:
            NotFiniteError: If too many were left out in a row, or the loss scale has become too small.
        """
        if taken:
            self._left_out = 0
            return
        self._left_out += 1
        precision = self._fabric.strategy.precision
        assert isinstance(precision, LayerwisePrecision)
        assert precision.scaler is not None
        scale = float(precision.scaler.get_scale())
        if self._left_out >= MOST_LEFT_OUT or scale < LEAST_SCALE:
            what = f"{self._left_out} steps in a row were left out, because gradients are nan or inf in fp16 at a loss"
            remedy = "try training.precision=bf16 or fp32, a lower learning rate or clip_norm"
            raise NotFiniteError(f"{self._place}: {what} scale of {scale:.3g}; {remedy}")

    @torch.no_grad()
    def check_weights(self) -> None:
        """Raise :class:`NotFiniteError` if a weight, or a running statistic of a normalization, is nan or inf.

        A step of a finite gradient can do that too, where the learning rate is large.
        """
        self.finish()
        # Other buffers may be constants, such as a mask with -inf.
        buffers = [b for b in self._distiller.named_buffers() if b[0].rpartition(".")[2].startswith("running_")]
        groups = [_floats(self._distiller.named_parameters()), _floats(buffers)]
        norms = [total_norm(list(group.values()), 2.0, self._fabric.device) for group in groups]
        if all(math.isfinite(float(norm)) for norm in norms):
            return
        floats = groups[0] | groups[1]
        bad = [name for name, tensor in floats.items() if not tensor.isfinite().all()]
        if bad:
            more = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
            what = f"after the step the weights of {bad[-1].removeprefix('student.')}{more} are nan or inf"
            raise NotFiniteError(f"{self._place}: {what}; try a lower learning rate or clip_norm")


def _floats(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in named if tensor.is_floating_point() and tensor.numel()}


def _largest(logits: Tensor) -> Tensor:
    """Return the largest absolute logit of each row, (R,)."""
    logits = logits.detach()
    return torch.linalg.vector_norm(logits.float(), math.inf, dim=1) if logits.numel() else logits.new_zeros(0)


def total_norm(tensors: list[Tensor], order: float, device: torch.device) -> Tensor:
    """Return the norm of all entries of tensors, nan or inf if one of them is; 0 for none.

    Example:
        >>> total_norm([torch.tensor([3.0]), torch.tensor([4.0])], 2.0, torch.device("cpu"))
        tensor(5.)
    """
    dense = [tensor.coalesce().values() if tensor.is_sparse else tensor for tensor in tensors]
    if not dense:
        return torch.zeros((), device=device)
    norm = get_total_norm(dense, order)
    # Of a sharded model each process has a part.
    whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return whole.float()


def copied_to_host(values: Tensor) -> tuple[Tensor, Callable[[], bool]]:
    """Begin to copy a tensor to the host, without waiting.

    Returns:
        The copy, and a function that returns whether it is complete.

    Example:
        >>> copy, is_complete = copied_to_host(torch.ones(2))
        >>> is_complete(), copy
        (True, tensor([1., 1.]))
    """
    if values.device.type != "cuda":
        return values.cpu(), lambda: True
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return host, event.query
