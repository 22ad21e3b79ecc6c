"""The information about labels in predicted classes, also where a network exchanges classes consistently."""

import torch
from torch import Tensor

from limbeck.rows import check_labels, check_logits, check_measurable
from limbeck.selection.reliability import check_half

# Temperatures that are tried, in parts of the logits' spread: from a hundredth to ten, 20 to a factor of ten.
_TEMPERATURES = torch.logspace(-2, 1, 61, dtype=torch.float64)


def class_table(logits: Tensor, labels: Tensor) -> Tensor:
    """Count which labels the rows of each predicted class have.

    Args:
        logits: (N, C) float logits.
        labels: (N,) true classes.

    Returns:
        (C, C) shares in float64, on the CPU, each row with the sum 1: row c is that of the labels of the rows that are
        predicted to be c, among which one more of label c and one of all labels evenly are counted.

    Raises:
        UserError: If shapes or types are wrong, or a label is out of range.

    Example:
        >>> class_table(torch.eye(2)[[0, 0, 1]], torch.tensor([1, 1, 0]))
        tensor([[0.3750, 0.6250],
                [0.5000, 0.5000]], dtype=torch.float64)
    """
    check_logits(logits, "logits")
    true = check_labels(labels, logits).cpu()
    classes = logits.shape[1]
    counts = torch.eye(classes, dtype=torch.float64) + 1 / classes
    ones = torch.ones(len(true), dtype=torch.float64)
    counts.index_put_((logits.argmax(dim=1).cpu(), true), ones, accumulate=True)
    return counts / counts.sum(dim=1, keepdim=True)


def informed_probabilities(logits: Tensor, labels: Tensor, half: Tensor) -> Tensor:
    """Return the probability of each true label through the class table of the other half of the rows.

    Mistakes that are consistent cost nothing here, unlike in :func:`limbeck.selection.calibrated_probabilities`: a
    network that exchanges two classes everywhere predicts the labels as well as one that is right. This measures a
    teacher whose wrong classes are corrected before they reach the student.

    Args:
        logits: (N, C) float logits.
        labels: (N,) true classes.
        half: (N,) bool, which of two halves a row is in; where one is empty, the other serves both.

    Returns:
        (N,) probabilities in float64, on the CPU: of softmax(logits / T) times the table, both from the other half, T
        the one of 61 temperatures under which its labels are most likely.

    Raises:
        UserError: If shapes or types are wrong, a label is out of range, there are no rows, or a logit is nan or
            infinite.

    References:
        Ours.

    Example:
        >>> labels = torch.arange(3).repeat(40)
        >>> exchanged = 9 * torch.eye(3)[(labels + 1) % 3]
        >>> informed_probabilities(exchanged, labels, torch.arange(120) < 60).min() > 0.9
        tensor(True)
    """
    check_half(half, logits)
    check_measurable(logits)
    wide, true, there = logits.detach().to("cpu", torch.float64), labels.cpu(), half.cpu()
    p = torch.empty(len(wide), dtype=torch.float64)
    for part in (there, ~there):
        fitted = ~part if bool((~part).any()) else part
        table = class_table(wide[fitted], true[fitted])
        temperature = _likeliest(wide[fitted], table.T[true[fitted]])
        p[part] = _of_truth(wide[part] / temperature, table.T[true[part]])
    return p


def _of_truth(logits: Tensor, columns: Tensor) -> Tensor:
    """Return (N,) probabilities of the true labels, from logits and the table's column of each row's label, (N, C)."""
    return (logits.softmax(dim=1) * columns).sum(dim=1)


def _likeliest(logits: Tensor, columns: Tensor) -> float:
    spread = float((logits.amax(dim=1, keepdim=True) - logits).mean()) or 1.0
    likelihoods = [float(_of_truth(logits / t, columns).log().mean()) for t in spread * _TEMPERATURES]
    return spread * float(_TEMPERATURES[max(range(len(likelihoods)), key=likelihoods.__getitem__)])
