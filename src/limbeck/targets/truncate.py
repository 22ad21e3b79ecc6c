"""Truncation: keep the teacher's k best classes, and spread the probability of the others, or drop it."""

from typing import Literal

import torch
from torch import Tensor

from limbeck.errors import UserError
from limbeck.rows import check_logits, full

Rest = Literal["spread", "drop"]
# A logit this far below the rest of its row has the probability 0 in fp32 at every temperature up to 90.
FAR_BELOW = 1e4


def truncate_logits(teacher_logits: Tensor, k: int, *, rest: Rest = "spread") -> Tensor:
    """Keep the k largest logits of every row; of equal ones, those of the lower class.

    ``rest="spread"`` gives every other class the same share of the others' probability, so that the k keep theirs.
    ``rest="drop"`` gives the others none, so that the k share all of it in the ratios that they had: the others' logits
    lie 10,000 below the least one kept, a finite number whose softmax is 0 (in fp32, up to a temperature of 90).

    Args:
        teacher_logits: (N, C) float logits; not written to.
        k: How many classes are kept, at least 1. With k of C or more, everything is.
        rest: ``"spread"`` or ``"drop"``.

    Returns:
        (N, C) logits in fp32 (float64 if that came in); the k kept ones are as they came.

    Raises:
        UserError: If the logits are no (N, C) floats, k is no whole number of at least 1, or ``rest`` is unknown.

    References:
        Shen, Xing: A Fast Knowledge Distillation Framework for Visual Recognition, ECCV 2022, arXiv 2112.01528, where
        the two are called marginal smoothing and marginal re-norm with top-k.

    Example:
        >>> truncate_logits(torch.tensor([[2., 1., 0., -1.]]), 2).softmax(1)
        tensor([[0.6439, 0.2369, 0.0596, 0.0596]])
        >>> truncate_logits(torch.tensor([[2., 1., 0., -1.]]), 2, rest="drop").softmax(1)
        tensor([[0.7311, 0.2689, 0.0000, 0.0000]])
    """
    check_logits(teacher_logits, "teacher_logits")
    _check(k, rest)
    logits = full(teacher_logits)
    if k >= logits.shape[1]:
        return logits
    # A stable sort rather than topk, which leaves open which of equal logits it takes.
    order = logits.sort(dim=1, descending=True, stable=True).indices
    others = order[:, k:]
    if rest == "drop":
        filling = logits.gather(1, order[:, k - 1 : k]) - FAR_BELOW
    else:
        remaining = logits.gather(1, others).logsumexp(dim=1, keepdim=True)
        filling = remaining - torch.log(torch.full_like(remaining, others.shape[1]))
    return logits.scatter(1, others, filling.expand_as(others))


def _check(k: int, rest: str) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UserError(f"k: got {k!r}, expected a whole number of at least 1")
    if rest not in ("spread", "drop"):
        raise UserError(f"rest: got {rest!r}, expected 'spread' or 'drop'")
