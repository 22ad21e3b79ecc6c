"""How reliable a teacher is: the share of labels that it explains better than a student without it."""

from collections.abc import Callable

import torch
from torch import Tensor

from limbeck.errors import UserError
from limbeck.randomness.hashing import derived_seed
from limbeck.rows import check_labels, check_measurable
from limbeck.selection.choose import choose
from limbeck.selection.scores import random_scores

# How often an interval is halved: to the last bit of float64.
_STEPS = 60
# A temperature is looked for between the logits' spread divided and multiplied by this.
_RANGE = 1e3
_HALVES_STREAM = 4


def halves(labels: Tensor, indices: Tensor, *, seed: int) -> Tensor:
    """Draw half of the training set, the same share of every class.

    Args:
        labels: (N,) true classes.
        indices: (N,) positions in the training set.
        seed: Of the draw.

    Returns:
        (N,) bool mask of the first half.

    Raises:
        UserError: If labels or indices are no (N,) whole numbers.

    Example:
        >>> first = halves(torch.arange(20) % 2, torch.arange(20), seed=0)
        >>> int(first.sum()), int(first[::2].sum())
        (10, 5)
    """
    return choose(random_scores(indices, seed=derived_seed(seed, _HALVES_STREAM)), 0.5, labels=labels)


def nll_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the temperature that makes labels most likely under logits.

    The likelihood is concave in 1 / T, so that bisection of its derivative finds the maximum, in float64.

    Args:
        logits: (N, C) float logits, N at least 1.
        labels: (N,) true classes.

    Returns:
        The temperature, at most 1,000 times above or below the mean distance of a row's largest logit from its mean:
        logits that are right everywhere have no smallest one, and useless ones no largest.

    Raises:
        UserError: If shapes or types are wrong, there are no rows, or a logit is nan or infinite.

    References:
        Guo et al.: On Calibration of Modern Neural Networks, ICML 2017.

    Example:
        >>> logits, labels = torch.tensor([[2., 0.], [2., 0.], [2., 0.], [2., 0.]]), torch.tensor([0, 0, 0, 1])
        >>> round(nll_temperature(logits, labels), 4)
        1.8205
    """
    check_measurable(logits)
    true = check_labels(labels, logits)[:, None].cpu()
    # Not every accelerator has float64.
    wide = logits.detach().to("cpu", torch.float64)
    wide = wide - wide.amax(dim=1, keepdim=True)
    spread = -float(wide.mean())
    if not spread:
        return 1.0
    wide = wide / spread
    of_truth = wide.gather(1, true).mean()

    def rises(log_inverse: float) -> float:
        p = (wide * 10**log_inverse).softmax(dim=1)
        return float(of_truth - (p * wide).sum(dim=1).mean())

    bound = torch.log10(torch.tensor(_RANGE, dtype=torch.float64)).item()
    return spread * 10 ** -_root(rises, -bound, bound)


def calibrated_probabilities(logits: Tensor, labels: Tensor, half: Tensor) -> Tensor:
    """Return the probability of each true label, at the temperature that fits the labels of the other half.

    Args:
        logits: (N, C) float logits.
        labels: (N,) true classes.
        half: (N,) bool, which of two halves a row is in; where one is empty, the other's temperature serves both.

    Returns:
        (N,) probabilities in float64, on the CPU.

    Raises:
        UserError: As :func:`nll_temperature`, or if ``half`` is no (N,) bool.

    Example:
        >>> logits, labels = torch.tensor([[2., 0.], [2., 0.]]).repeat(3, 1), torch.tensor([0, 0, 0, 0, 1, 1])
        >>> calibrated_probabilities(logits, labels, torch.arange(6) % 2 == 0)
        tensor([0.6667, 0.6667, 0.6667, 0.6667, 0.3333, 0.3333], dtype=torch.float64)
    """
    check_half(half, logits)
    fitted = [part if bool(part.any()) else ~part for part in (~half, half)]
    there, elsewhere = (nll_temperature(logits[part], labels[part]) for part in fitted)
    temperature = torch.where(half, there, elsewhere)[:, None].to("cpu", torch.float64)
    p = (logits.detach().to("cpu", torch.float64) / temperature).softmax(dim=1)
    return p.gather(1, labels.cpu().long()[:, None])[:, 0]


def check_half(half: Tensor, logits: Tensor) -> None:
    """Raise ``UserError`` unless a mask has one bool for each row of logits.

    Example:
        >>> check_half(torch.tensor([True, False]), torch.zeros(2, 3))
    """
    if half.dtype != torch.bool or half.shape != logits.shape[:1]:
        raise UserError(f"half: got {tuple(half.shape)} {half.dtype}, expected ({len(logits)},) torch.bool")


def teacher_share(teacher_p: Tensor, student_p: Tensor) -> float:
    r"""Find the share of labels that a teacher explains better than a student without it.

    .. math:: \lambda = \arg\max_l \sum_i \log(l q_i + (1 - l) s_i)

    with :math:`q_i` and :math:`s_i` the probability of the true label under the teacher and under a student that was
    trained without that label. This is the weight of a mixture of two, to which expectation maximization converges:
    the sum is concave in l, and bisection of its derivative finds the maximum to the last bit, also at 0 and 1.

    Args:
        teacher_p: (N,) probabilities of the true labels under the teacher, calibrated; see
            :func:`calibrated_probabilities`.
        student_p: (N,) the same under the student, of which no label was used in its training.

    Returns:
        The share, in [0, 1]; 0.5 where both explain every label alike.

    Raises:
        UserError: If these are no (N,) probabilities, or there are none.

    References:
        Ours. The mixture is Dempster et al.: Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977, with
        known components.

    Example:
        >>> round(teacher_share(torch.tensor([0.9, 0.9, 0.1]), torch.tensor([0.5, 0.5, 0.5])), 4)
        0.4167
        >>> teacher_share(torch.tensor([0.9, 0.8]), torch.tensor([0.5, 0.5]))
        1.0
    """
    teacher, student = _wide(teacher_p, "teacher_p"), _wide(student_p, "student_p")
    if teacher.shape != student.shape or not len(teacher):
        got = f"{tuple(teacher_p.shape)} and {tuple(student_p.shape)}"
        raise UserError(f"teacher_p and student_p: got {got}, expected the same number, at least one")
    difference = teacher - student

    def rises(share: float) -> float:
        # Where both are 0, a label distinguishes nothing.
        return float((difference / (share * teacher + (1 - share) * student)).nan_to_num(nan=0.0).mean())

    return _root(rises, 0.0, 1.0)


def responsibilities(teacher_p: Tensor, student_p: Tensor, share: float) -> Tensor:
    r"""Return how probable it is that the teacher explains each label: :math:`l q_i / (l q_i + (1 - l) s_i)`.

    Args:
        teacher_p: (N,) as for :func:`teacher_share`.
        student_p: (N,) as for :func:`teacher_share`.
        share: The teacher's share l, from :func:`teacher_share`.

    Returns:
        (N,) in float64, on the CPU; ``share`` where both probabilities are 0.

    Raises:
        UserError: If these are no probabilities.

    Example:
        >>> responsibilities(torch.tensor([0.9, 0.1]), torch.tensor([0.3, 0.3]), 0.5)
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    teacher, student = _wide(teacher_p, "teacher_p"), _wide(student_p, "student_p")
    both = share * teacher + (1 - share) * student
    return torch.where(both > 0, share * teacher / both, share)


def _wide(p: Tensor, name: str) -> Tensor:
    wide = p.detach().to("cpu", torch.float64)
    if wide.ndim != 1 or not bool(((wide >= 0) & (wide <= 1)).all()):
        raise UserError(f"{name}: got {tuple(p.shape)} {p.dtype}, expected probabilities of shape (N,)")
    return wide


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling function crosses 0; the end that it stays on the other side of."""
    if falling(high) > 0:
        return high
    if falling(low) < 0:
        return low
    for _ in range(_STEPS):
        middle = (low + high) / 2
        value = falling(middle)
        if not value:
            return middle
        low, high = (middle, high) if value > 0 else (low, middle)
    return (low + high) / 2
