"""Semantic label smoothing: the smoothed share of a label goes to the classes that are like it."""

import torch
from torch import Tensor

from limbeck.errors import UserError
from limbeck.rows import whole_numbers
from limbeck.targets.truncate import FAR_BELOW

_TOLERANCE = 1e-3


def check_prior(prior: Tensor) -> None:
    """Raise ``UserError`` unless ``prior`` is a (C, C) float matrix whose rows are distributions.

    Args:
        prior: The matrix; a row may miss a sum of 1 by 0.001.

    Raises:
        UserError: One line that names the first row that is none.

    Example:
        >>> check_prior(torch.tensor([[0.5, 0.5], [0.5, 0.4]]))
        Traceback (most recent call last):
        limbeck.errors.UserError: prior: row 1 sums to 0.9, expected a distribution (numbers of at least 0 with sum 1)
    """
    _check_shape(prior)
    least, total = prior.double().amin(dim=1), prior.double().sum(dim=1)
    wrong = ~((least >= 0) & ((total - 1).abs() <= _TOLERANCE))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        fault = f"sums to {float(total[row]):.6g}" if least[row] >= 0 else f"holds {float(least[row]):.6g}"
        raise UserError(f"prior: row {row} {fault}, expected a distribution (numbers of at least 0 with sum 1)")


def _check_shape(prior: Tensor) -> None:
    square = prior.ndim == 2 and prior.shape[0] == prior.shape[1] and prior.shape[0] > 0
    if not square or not prior.is_floating_point():
        raise UserError(
            f"prior: got {tuple(prior.shape)} {prior.dtype}, expected floats of shape (C, C), a row a class"
        )


def semantic_smoothing(labels: Tensor, prior: Tensor, *, alpha: float = 0.1) -> Tensor:
    r"""Mix what is known about a class into its labels: :math:`(1 - \alpha)\,\mathrm{onehot}(y) + \alpha\,\pi(y)`.

    With a uniform prior this is plain label smoothing.

    Args:
        labels: (N,) true classes.
        prior: (C, C) floats, row y the distribution :math:`\pi(y)` over the classes: their similarity to y, or how
            often they stand beside it. The rows are checked where that costs no device synchronization: on CPU, outside
            ``torch.compile``; :func:`check_prior` checks them anywhere.
        alpha: The prior's share, in [0, 1].

    Returns:
        (N, C) probabilities of the prior's type.

    Raises:
        UserError: If the prior is not square or a row is no distribution, alpha is outside [0, 1], or the labels are no
            (N,) whole numbers.

    References:
        Camporese et al.: Knowledge Distillation for Action Anticipation via Label Smoothing, ICPR 2020,
        arXiv 2004.07711.

    Example:
        >>> prior = torch.tensor([[0., 1., 0.], [.5, 0., .5], [0., 1., 0.]])
        >>> semantic_smoothing(torch.tensor([0, 1]), prior, alpha=0.2)
        tensor([[0.8000, 0.2000, 0.0000],
                [0.1000, 0.8000, 0.1000]])
    """
    if prior.device.type == "cpu" and not torch.compiler.is_compiling():
        check_prior(prior)
    else:
        _check_shape(prior)
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha: got {alpha}, expected a number from 0 to 1")
    return _mixed(whole_numbers(labels, "labels"), prior, alpha)


def _mixed(labels: Tensor, prior: Tensor, alpha: float) -> Tensor:
    labels = labels.long()
    rows = alpha * prior[labels]
    return rows.scatter_add(1, labels[:, None], torch.full_like(rows[:, :1], 1 - alpha))


class SemanticTarget:
    """Semantic label smoothing as a target: the logarithms of the smoothed labels, for any teacher logits.

    A class of probability 0 gets the logit -10,000, a finite number whose softmax is 0 (in fp32, up to a temperature
    of 90).

    Args:
        prior: (C, C) floats, the rows distributions; checked once, here.
        alpha: The prior's share, in [0, 1].

    Raises:
        UserError: If :func:`check_prior` refuses the prior; when called, if there are not C classes.

    Example:
        >>> target = SemanticTarget(torch.eye(2).flip(1), alpha=0.25)
        >>> target(torch.zeros(1, 2), torch.tensor([1])).softmax(1)
        tensor([[0.2500, 0.7500]])
    """

    def __init__(self, prior: Tensor, *, alpha: float = 0.1) -> None:
        check_prior(prior)
        self.prior, self.alpha = prior.float(), alpha

    def __call__(self, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """Return (N, C) logits in fp32 for (N, C) logits of any teacher and (N,) true classes."""
        classes = teacher_logits.shape[1]
        if len(self.prior) != classes:
            raise UserError(f"prior: has {len(self.prior)} classes, expected the {classes} of the data")
        # Kept where it was last needed, so that it does not travel to the device with every batch.
        self.prior = self.prior.to(labels.device)
        return torch.where((p := _mixed(labels, self.prior, self.alpha)) > 0, p.log(), -FAR_BELOW)
