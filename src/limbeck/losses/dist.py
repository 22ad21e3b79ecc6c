"""DIST: match the relations between classes and between samples instead of the probabilities themselves."""

from typing import Any, Literal, NamedTuple

from torch import Tensor

from limbeck.errors import UserError
from limbeck.losses._blocks import is_plain
from limbeck.losses._closed_correlation import closed_distance
from limbeck.losses._correlation import correlation_distance
from limbeck.losses.modules import LossModule
from limbeck.losses.spread import MIN_SPREAD, check_min_spread
from limbeck.rows import check_pair, check_temperature

Scale = Literal["code", "paper"]


class DistParts(NamedTuple):
    """The two correlation distances of DIST, each a scalar of ``[0, 2]`` before any weight."""

    inter: Tensor
    intra: Tensor


def dist_parts(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    gather: bool = False,
    min_spread: Tensor | float = MIN_SPREAD,
    weight: Tensor | None = None,
) -> DistParts:
    r"""Compute DIST's two terms, :math:`1 - \rho` between rows (inter-class) and between columns (intra-class).

    The gradient is in closed form, in less memory and time than autograd's. Autograd derives it from the plain formula
    under ``torch.compile`` and ``torch.func``, where ``weight`` needs a gradient, and with ``create_graph=True``.

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        temperature: Softens both sides; greater than 0.
        gather: Compute over the rows of all processes of ``torch.distributed``, so that N processes equal one.
        min_spread: Rows and columns of logits that vary by less than this standard deviation d are correlated as if
            they varied by it, so that the gradient is bounded [ours]: the norm of n centered probabilities of mean m is
            at least :math:`\tanh(d / T) \, m \sqrt n`. 0 is the published formula everywhere.
        weight: (N,) how much each row counts, in the mean over rows and in the statistics of each column.

    Returns:
        The inter- and the intra-class distance. With two classes the first has no gradient (a row of two
        probabilities always correlates fully); with one row the second has none.

    Raises:
        UserError: On wrong shapes or types, a temperature not above 0, a negative ``min_spread``, or a backward with
            ``create_graph=True`` where ``gather`` is on and there are processes.

    References:
        Huang et al.: Knowledge Distillation from A Stronger Teacher, NeurIPS 2022, arXiv 2205.10536, section 4.

    Example:
        >>> import torch
        >>> student = torch.tensor([[2., 1., 0., -1.], [.5, 0., 1.5, -.5], [0., 3., 1., 2.]])
        >>> teacher = torch.tensor([[3., .5, .2, -2.], [1., -1., 0., 2.], [0., 1., 4., 2.]])
        >>> inter, intra = dist_parts(student, teacher, min_spread=0)
        >>> f"{inter:.5f} {intra:.5f}"
        '0.97337 0.92779'
        >>> inter, intra = dist_parts(student, teacher)  # one column varies by less than 1
        >>> f"{inter:.5f} {intra:.5f}"
        '0.97337 0.91315'
    """
    settings: dict[str, Any] = {"temperature": temperature, "gather": gather, "weight": weight}
    settings["min_spread"] = min_spread
    return DistParts(*(_distance(student_logits, teacher_logits, scales=one, **settings) for one in ((1, 0), (0, 1))))


def _distance(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float,
    weight: Tensor | None,
    min_spread: Tensor | float,
    **settings: Any,
) -> Tensor:
    check_pair(student_logits, teacher_logits)
    check_temperature(temperature)
    check_min_spread(min_spread)
    rows = student_logits.shape[:1]
    if weight is not None and weight.shape != rows:
        raise UserError(f"weight: got {tuple(weight.shape)}, expected one a row, {tuple(rows)}")
    distance = correlation_distance if is_plain(student_logits, weight, temperature) else closed_distance
    settings |= {"temperature": temperature, "weight": weight, "min_spread": min_spread}
    return distance(student_logits, teacher_logits, **settings)


def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    scale: Scale = "code",
    gather: bool = False,
    min_spread: Tensor | float = MIN_SPREAD,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Match the teacher's relations: :math:`T^2 (\beta \, d_\mathrm{inter} + \gamma \, d_\mathrm{intra})`.

    Args:
        student_logits: (N, C) float logits.
        teacher_logits: (N, C) float logits; they receive no gradient.
        temperature: Softens both sides; greater than 0.
        beta: Weight of the inter-class term.
        gamma: Weight of the intra-class term.
        scale: ``"code"`` multiplies by :math:`T^2`, as the authors' released code does; ``"paper"`` does not.
        gather: Compute over the rows of all processes of ``torch.distributed``, so that N processes equal one.
        min_spread: Rows and columns of logits that vary by less than this standard deviation d are correlated as if
            they varied by it, so that the gradient is bounded [ours]: the norm of n centered probabilities of mean m is
            at least :math:`\tanh(d / T) \, m \sqrt n`. 0 is the published formula everywhere.
        weight: (N,) how much each row counts.

    Returns:
        A scalar, without the cross-entropy that a method adds.

    Raises:
        UserError: On wrong shapes or types, a temperature not above 0, a negative ``min_spread``, or an unknown scale.

    References:
        Huang et al.: Knowledge Distillation from A Stronger Teacher, NeurIPS 2022, arXiv 2205.10536, equation 10.

    Example:
        >>> import torch
        >>> student = torch.tensor([[2., 1., 0., -1.], [.5, 0., 1.5, -.5], [0., 3., 1., 2.]])
        >>> teacher = torch.tensor([[3., .5, .2, -2.], [1., -1., 0., 2.], [0., 1., 4., 2.]])
        >>> dist_loss(student, teacher, temperature=4.0, min_spread=0)
        tensor(25.3271)
    """
    if scale not in ("code", "paper"):
        raise UserError(f"scale: got {scale!r}, expected 'code' or 'paper'")
    factor = temperature**2 if scale == "code" else 1.0
    scales = (factor * beta, factor * gamma)
    settings: dict[str, Any] = {"temperature": temperature, "gather": gather, "weight": weight}
    settings["min_spread"] = min_spread
    return _distance(student_logits, teacher_logits, scales=scales, **settings)


class DISTLoss(LossModule):
    """The module twin of :func:`dist_loss`.

    Example:
        >>> import torch
        >>> DISTLoss()(4 * torch.eye(3), 4 * torch.eye(3)).abs() < 1e-5
        tensor(True)
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        beta: float = 1.0,
        gamma: float = 1.0,
        scale: Scale = "code",
        gather: bool = True,
        min_spread: Tensor | float = MIN_SPREAD,
    ) -> None:
        check_temperature(temperature)
        check_min_spread(min_spread)
        relations = {"temperature": temperature, "gather": gather, "min_spread": min_spread}
        super().__init__(dist_loss, beta=beta, gamma=gamma, scale=scale, **relations)
