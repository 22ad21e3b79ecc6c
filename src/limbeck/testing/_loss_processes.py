"""The check that several processes compute what one does."""

import pickle
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from limbeck.errors import UserError
from limbeck.testing._requirements import Device, drawn_sides, gradient_of, require_close
from limbeck.testing.loss_case import LossCase
from limbeck.testing.processes import Processes

_ROWS = 12


def _no_reference(*sides: Any) -> float:
    raise NotImplementedError


def _share(rank: int, world: int, case: LossCase, period: int) -> tuple[Tensor, Tensor]:
    """Return the loss of this process's rows, and their gradient in the mean over processes."""
    student, teacher, labels = (side.chunk(world)[rank] for side in drawn_sides(_ROWS))
    # Each process's weights have the same sum.
    weight = (torch.arange(_ROWS) % period + 1.0).chunk(world)[rank]
    student = student.requires_grad_(True)
    loss = case(student, teacher, labels, weight, **(case.across_processes or {}))
    return loss.detach(), gradient_of(loss, student) / world


def _sent(case: LossCase) -> LossCase:
    """Return the case without its reference and twin, if it can be pickled."""
    sent = replace(case, reference=_no_reference, twin=None)
    try:
        pickle.dumps(sent)
    except (pickle.PicklingError, AttributeError, TypeError):
        raise UserError(f"{case.name}: cannot be pickled, expected a loss at the top level of a module") from None
    return sent


def check_loss_across_processes(case: LossCase, processes: Processes) -> None:
    """Check that the mean over processes equals one process that has all rows: value and gradient.

    Args:
        case: The loss, with its settings for several processes in ``across_processes``.
        processes: Running processes; one group serves any number of cases.

    Raises:
        AssertionError: If values or gradients differ.
        UserError: If the loss cannot be sent to other processes.

    Example:
        >>> from limbeck.losses import dist_loss
        >>> case = LossCase(dist_loss, lambda *sides: 0.0, across_processes={"gather": True})
        >>> with Processes(2) as processes:  # doctest: +SKIP
        ...     check_loss_across_processes(case, processes)
    """
    sent, period = _sent(case), _ROWS // processes.world
    shares = processes.run(_share, sent, period)
    pairs = zip(("loss", "gradient"), _joined(shares), _share(0, 1, case, period), strict=True)
    for name, result, expected in pairs:
        require_close(result, expected, f"{name} of {processes.world} processes", 1e-9, 1e-12)


def _joined(shares: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the mean loss, and the gradient of all rows."""
    losses, gradients = zip(*shares, strict=True)
    return torch.stack(losses).mean(), torch.cat(gradients)


def two_processes(case: LossCase, device: Device, dtype: torch.dtype) -> None:
    """Equals, in the mean over two processes, one process that has all rows."""
    with Processes(2) as processes:
        check_loss_across_processes(case, processes)
