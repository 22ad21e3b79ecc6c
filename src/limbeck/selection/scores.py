"""Scores of rows that need only logits: the higher, the more worthwhile that the teacher supervises the row.

The data selection of LR+DS (arXiv 2404.03693) is known in outline only; which score to use, and its direction, are this
project's decisions. ``random_scores`` is the control that every other score has to beat.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import UserError
from limbeck.randomness.hashing import random_bits
from limbeck.rows import check_labels, check_logits, full, whole_numbers


def random_scores(indices: Tensor, *, seed: int, epoch: int = 0, stream: int = 0) -> Tensor:
    """Draw one uniform number for each sample, the same whenever and wherever it is drawn.

    Args:
        indices: Sample indices, (N,) whole numbers.
        seed: The run's seed.
        epoch: The epoch, from 0, if the draws are to differ between epochs.
        stream: Which of the independent draws of a sample.

    Returns:
        (N,) float32 scores in ``[0, 1)``.

    Raises:
        UserError: ``indices`` is not an (N,) tensor of whole numbers.

    Example:
        >>> scores = random_scores(torch.arange(1000), seed=0)
        >>> bool((scores >= 0).all() and (scores < 1).all())
        True
        >>> bool(random_scores(torch.tensor([7]), seed=0)[0] == scores[7])
        True
    """
    whole_numbers(indices, "indices")
    # fp32 holds 24 bits exactly, so that the largest draw stays below 1.
    return (random_bits(indices, seed=seed, epoch=epoch, stream=stream) >> 39).float() * 2.0**-24


def agreement_scores(teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Prefer the rows that the teacher gets right.

    The score is 1 where the true class has the largest logit (alone or tied) and 0 elsewhere, plus the teacher's margin
    ``p_y - max over the others of p`` as the tie-breaker: right rows lie in [1, 2], wrong ones in [-1, 0].

    Args:
        teacher_logits: (N, C) floats, C at least 2.
        labels: (N,) true classes.

    Returns:
        (N,) scores.

    Raises:
        UserError: A wrong shape or type, or a label outside ``[0, C)`` (values are checked on the CPU only).

    Example:
        >>> agreement_scores(torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), torch.tensor([0, 0, 0]))
        tensor([ 1.7616, -0.7616,  1.0000])
    """
    check_logits(teacher_logits, "teacher_logits")
    if teacher_logits.shape[1] < 2:
        raise UserError("teacher_logits: got 1 class, expected at least 2")
    column = check_labels(labels, teacher_logits).unsqueeze(1)
    logits = full(teacher_logits.detach())
    true = logits.gather(1, column)
    best_other = logits.scatter(1, column, -torch.inf).amax(1, keepdim=True)
    # Only two probabilities are needed, and as a difference of exponentials they need no second pass over the classes.
    total = logits.logsumexp(1, keepdim=True)
    margin = (true - total).exp() - (best_other - total).exp()
    return ((true >= best_other) + margin).squeeze(1)


def confidence_scores(teacher_logits: Tensor) -> Tensor:
    """Prefer the rows that the teacher is surest of, right or wrong: its largest probability.

    Args:
        teacher_logits: (N, C) floats.

    Returns:
        (N,) scores in ``[1 / C, 1]``.

    Raises:
        UserError: A wrong shape or type.

    Example:
        >>> confidence_scores(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
        tensor([0.5000, 0.8808])
    """
    check_logits(teacher_logits, "teacher_logits")
    return full(teacher_logits.detach()).softmax(1).amax(1)


def el2n_scores(student_logits: Tensor, labels: Tensor) -> Tensor:
    """Prefer the rows that are hard for the student: EL2N, the length of the error ``softmax(z) - onehot(y)``.

    The score is of Paul et al., "Deep Learning on a Data Diet" (NeurIPS 2021), Section 2, for one network instead of
    their mean over several. Its use here is this project's decision: the teacher supervises the hard rows, for on
    the easy ones the ground truth is enough.

    Args:
        student_logits: (N, C) floats.
        labels: (N,) true classes.

    Returns:
        (N,) scores in ``[0, sqrt(2)]``.

    Raises:
        UserError: A wrong shape or type, or a label outside ``[0, C)`` (values are checked on the CPU only).

    Example:
        >>> el2n_scores(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 0])).round(decimals=3)
        tensor([0.0000, 1.4140])
    """
    check_logits(student_logits, "student_logits")
    check_labels(labels, student_logits)
    length: Tensor = torch.linalg.vector_norm(residuals(student_logits, labels), dim=1)
    return length


def residuals(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the cross-entropy to the logits, ``softmax(z) - onehot(y)``.

    Args:
        logits: (N, C) floats.
        labels: (N,) true classes in ``[0, C)``.

    Returns:
        (N, C) values, each row of sum 0.

    Example:
        >>> residuals(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor([[ 0.5000, -0.5000]])
    """
    probabilities = full(logits.detach()).softmax(1)
    return probabilities - F.one_hot(labels.long(), probabilities.shape[1])
