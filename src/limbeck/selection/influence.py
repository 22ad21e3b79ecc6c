"""Influence of each row's teacher supervision on a held-out loss, through the head of the student.

LR+DS (arXiv 2404.03693) selects by an influence score whose formula was not available; this one is the project's own.
It restricts TracIn (Pruthi et al., NeurIPS 2020, "Estimating Training Data Influence by Tracing Gradient Descent") to
one checkpoint and to the last linear layer, where a row's gradient is an outer product.
"""

import torch
from torch import Tensor

from limbeck.errors import UserError
from limbeck.rows import check_labels, check_logits, whole_numbers
from limbeck.selection.scores import residuals


def head_influence(
    features: Tensor,
    logits: Tensor,
    targets: Tensor,
    held_features: Tensor,
    held_logits: Tensor,
    held_labels: Tensor,
    *,
    damping: float | None = None,
    held_index: Tensor | None = None,
    bias: bool = True,
) -> Tensor:
    """Score each row by how much a step on it, under the teacher's target, lowers the held-out loss.

    With the penultimate features ``h`` and ``r = softmax(logits) - targets``, a row's gradient of the head's weights is
    ``r h^T``. With ``G`` the mean over the held-out rows of ``r_v h_v^T``, ``r_v`` taken against the true class, a
    gradient step of rate ``e`` on the row lowers the mean held-out cross-entropy by ``e * r^T G h`` to first order:
    that is the score (the row's influence on the loss is its negative). No tensor is larger than the largest of
    (N, D), (N, C), (D, D), (C, C) and (C, D).

    With ``damping`` the step is preconditioned as in influence functions, by the Kronecker-factored Fisher of the head
    (Martens and Grosse 2015, Section 3): ``G`` becomes ``S^-1 G A^-1``, where ``A = E[h h^T] + sqrt(damping) I`` and
    ``S = E[diag(p) - p p^T] + sqrt(damping) I`` are taken over the scored rows, for they are what is trained on.

    Args:
        features: (N, D) penultimate features of the rows to score.
        logits: (N, C) the student's logits of these rows.
        targets: (N, C) probabilities: the target distributions, from the corrected teacher logits.
        held_features: (V, D) penultimate features of held-out training rows (never of the test split).
        held_logits: (V, C) the student's logits of the held-out rows.
        held_labels: (V,) their true classes.
        damping: Above 0 in the units of the squared Fisher factors; ``None`` scores plain gradient steps.
        held_index: (N,) whole numbers: for a scored row that is itself held out, its place among the held-out rows,
            whose share of ``G`` is then left out for this row; -1 for the others. ``None`` when no row is in both.
        bias: Whether the head has a bias; the features then count a constant 1 as one more.

    Returns:
        (N,) scores, float64 where all floating inputs are, else float32.

    Raises:
        UserError: Shapes that do not fit together, integer logits, a label or index out of range, a damping that
            is not above 0 or too small to invert, or a lone held-out row that is to be left out.

    Example:
        >>> feature, held_label = torch.ones(1, 1), torch.tensor([0])
        >>> targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> head_influence(feature.expand(2, 1), torch.zeros(2, 2), targets, feature, torch.zeros(1, 2), held_label)
        tensor([ 1., -1.])
    """
    _check_rows(features, logits, targets)
    _check_held(held_features, held_logits, held_labels, features, logits)
    _check_held_index(held_index, len(features), len(held_features))
    dtype = _common_dtype(features, logits, targets, held_features, held_logits)
    h, held_h = (_inputs(x.detach().to(dtype), bias) for x in (features, held_features))
    p = logits.detach().to(dtype).softmax(1)
    r, held_r = p - targets.detach().to(dtype), residuals(held_logits.to(dtype), held_labels)
    left, right = (r, h) if damping is None else _precondition(r, h, p, damping)
    # r^T (S^-1 G A^-1) h = (S^-1 r)^T G (A^-1 h): conditioning the rows lets both uses of G below stay as they are.
    scores = ((left @ (held_r.T @ held_h / len(held_h))) * right).sum(1)
    return scores if held_index is None else _leave_out(scores, (left, right), (held_r, held_h), held_index)


def _leave_out(scores: Tensor, rows: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], index: Tensor) -> Tensor:
    """Take row v's own term out of the mean: (V * score - (r . r_v)(h . h_v)) / (V - 1)."""
    place, count = index.long().clamp(min=0), len(held[0])
    residual_product, feature_product = ((row * rest[place]).sum(1) for row, rest in zip(rows, held, strict=True))
    left_out = (count * scores - residual_product * feature_product) / max(count - 1, 1)
    return torch.where(index < 0, scores, left_out)


def _precondition(r: Tensor, h: Tensor, p: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    if not damping > 0:
        raise UserError(f"damping: got {damping}, expected a number above 0, or None for plain gradient steps")
    fisher = torch.diag(p.mean(0)) - p.T @ p / len(p)
    return _solve(fisher, r, damping), _solve(h.T @ h / len(h), h, damping)


def _solve(factor: Tensor, rows: Tensor, damping: float) -> Tensor:
    damped = factor + damping**0.5 * torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    lower, failed = torch.linalg.cholesky_ex(damped)
    if int(failed):
        raise UserError(f"damping: {damping} is too small to invert the head's Fisher matrix, expected a larger number")
    return torch.cholesky_solve(rows.T, lower).T


def _inputs(features: Tensor, bias: bool) -> Tensor:
    # A bias is the weight of a constant 1.
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1) if bias else features


def _common_dtype(*tensors: Tensor) -> torch.dtype:
    return torch.float64 if all(t.dtype == torch.float64 for t in tensors) else torch.float32


def _check_rows(features: Tensor, logits: Tensor, targets: Tensor) -> None:
    for name, value in (("features", features), ("logits", logits), ("targets", targets)):
        check_logits(value, name)
    if targets.shape != logits.shape:
        raise UserError(f"targets: got {tuple(targets.shape)}, expected {tuple(logits.shape)} as of logits")
    if len(features) != len(logits) or len(features) == 0:
        raise UserError(f"features: got {len(features)} rows for {len(logits)} of logits, expected as many, at least 1")


def _check_held(held_features: Tensor, held_logits: Tensor, labels: Tensor, features: Tensor, logits: Tensor) -> None:
    for name, value, row in (("held_features", held_features, features), ("held_logits", held_logits, logits)):
        check_logits(value, name)
        if value.shape[1] != row.shape[1] or len(value) != len(held_features) or len(value) == 0:
            expected = f"({max(len(held_features), 1)}, {row.shape[1]})"
            raise UserError(f"{name}: got {tuple(value.shape)}, expected {expected}")
    check_labels(labels, held_logits, "held_labels")


def _check_held_index(held_index: Tensor | None, rows: int, held: int) -> None:
    if held_index is None:
        return
    whole_numbers(held_index, "held_index", rows, range(-1, held))
    if held == 1 and bool((held_index >= 0).any()):
        raise UserError("held_index: leaves out the only held-out row, expected at least 2 held-out rows")
