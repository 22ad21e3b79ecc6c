"""The checks of losses between rows of logits: all in one call, or one by one."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Unpack

import torch
from torch import Tensor

from limbeck.errors import unknown_name
from limbeck.testing import _loss_bounds, _loss_checks
from limbeck.testing._loss_processes import two_processes
from limbeck.testing._requirements import Device
from limbeck.testing.loss_case import LossCase, LossClaims, Reference

Check = Callable[[LossCase, Device, torch.dtype], None]

_CHECKS: dict[str, Check] = {
    "value": _loss_checks.value,
    "twin": _loss_checks.twin,
    "gradcheck": _loss_checks.gradcheck,
    "half_precision": _loss_checks.half_precision,
    "extremes": _loss_bounds.extremes,
    "edge_shapes": _loss_checks.edge_shapes,
    "no_rows": _loss_checks.no_rows,
    "row_weights": _loss_checks.row_weights,
    "teacher": _loss_checks.teacher,
    "compiled": _loss_checks.compiled,
    "zero_at_teacher": _loss_checks.zero_at_teacher,
    "bounded": _loss_bounds.bounded,
    "processes": two_processes,
}


def loss_checks(case: LossCase) -> dict[str, Check]:
    """Return the checks that apply to a loss, by name: each is called as ``check(case, device, dtype)``.

    Args:
        case: The loss; what it does not claim is not checked.

    Example:
        >>> from limbeck.losses import kd_loss
        >>> list(loss_checks(LossCase(kd_loss, lambda *sides: 0.0, zero_at_teacher=False, across_processes=None)))
        ['value', 'gradcheck', 'half_precision', 'extremes', 'edge_shapes', 'no_rows', 'row_weights', 'teacher',
         'compiled', 'bounded']
    """
    claimed = {
        "twin": case.twin is not None,
        "zero_at_teacher": case.zero_at_teacher,
        "bounded": case.bounded,
        "processes": case.across_processes is not None,
    }
    return {name: check for name, check in _CHECKS.items() if claimed.get(name, True)}


def _failure(check: Callable[[], None]) -> Exception | None:
    try:
        check()
    except Exception as error:
        return error
    return None


def check_loss(
    loss: Callable[..., Tensor],
    *,
    reference: Reference,
    skip: Collection[str] = (),
    device: Device = "cpu",
    dtype: torch.dtype = torch.float32,
    **claims: Unpack[LossClaims],
) -> None:
    """Check a loss in every way that limbeck's own losses are checked.

    The value against a reference in float64, gradients against finite differences, half precision, extreme logits, one
    row, one class and none, row weights, no gradient to the teacher, ``torch.compile``, a bounded first gradient, and
    two processes against one; :func:`loss_checks` gives the list.

    Args:
        loss: A function or a module; see :class:`LossCase`.
        reference: The equation in NumPy, written without the loss's code; see :class:`LossCase`.
        skip: Names of checks to leave out.
        device: Where the logits lie.
        dtype: The logits' type in checks that do not name one.
        claims: What is claimed of the loss: the other fields of :class:`LossCase`.

    Raises:
        AssertionError: With a line for each check that failed.
        UserError: If ``skip`` names no check.

    Example:
        >>> import numpy as np
        >>> from scipy.special import log_softmax
        >>> from limbeck.losses import kd_loss
        >>> def in_numpy(student, teacher, labels, weight):
        ...     log_s, log_t = log_softmax(student / 4, axis=1), log_softmax(teacher / 4, axis=1)
        ...     return 16 * np.average((np.exp(log_t) * (log_t - log_s)).sum(1), weights=weight)
        >>> check_loss(kd_loss, reference=in_numpy, skip=["processes"])
        >>> check_loss(kd_loss, reference=in_numpy, settings={"temperature": 2.0}, skip=["processes"])
        Traceback (most recent call last):
        AssertionError: kd_loss fails 1 of 11 checks:
        value: (7, 5), torch.float64, weight None: got ...
    """
    for name in skip:
        if name not in _CHECKS:
            raise unknown_name("check", name, _CHECKS)
    case = LossCase(loss, reference, **claims)
    checks = {name: check for name, check in loss_checks(case).items() if name not in skip}
    results = {name: _failure(partial(check, case, device, dtype)) for name, check in checks.items()}
    failures = {name: error for name, error in results.items() if error is not None}
    if failures:
        lines = [f"{name}: {_described(error)}" for name, error in failures.items()]
        title = f"{case.name} fails {len(failures)} of {len(checks)} checks:"
        raise AssertionError("\n".join([title, *lines])) from next(iter(failures.values()))


def _described(error: Exception) -> str:
    return str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
