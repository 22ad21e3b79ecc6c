"""The losses that have been here from the start: KD, DIST, and the label-revision port's."""

from functools import partial

import numpy as np
from scipy.special import log_softmax, softmax

from limbeck import losses
from limbeck.testing import LossCase


def kd_reference(student, teacher, labels, weight, temperature=4.0):
    log_s, log_t = log_softmax(student / temperature, axis=1), log_softmax(teacher / temperature, axis=1)
    rows = (np.exp(log_t) * (log_t - log_s)).sum(1)
    return temperature**2 * (rows * weight).sum() / max(weight.sum(), 1e-300)


def weighted_pearson(a, b, weight, least):
    if weight.sum() == 0:
        return 1.0
    means = [np.average(side, weights=weight) for side in (a, b)]
    bounds = [least * mean * np.sqrt(weight.sum()) for mean in means]
    a, b = a - means[0], b - means[1]
    norm = np.prod(np.maximum([np.sqrt((weight * side * side).sum()) for side in (a, b)], bounds))
    return (weight * a * b).sum() / (norm + 1e-8)


def dist_reference(
    student, teacher, labels, weight, temperature=4.0, beta=2.0, gamma=1.0, min_spread=losses.MIN_SPREAD
):
    if weight.sum() == 0:
        return 0.0
    s, t = softmax(student / temperature, axis=1), softmax(teacher / temperature, axis=1)
    ones, least = np.ones(s.shape[1]), np.tanh(min_spread / temperature)
    inter = np.average([1 - weighted_pearson(s[i], t[i], ones, least) for i in range(len(s))], weights=weight)
    intra = np.mean([1 - weighted_pearson(s[:, j], t[:, j], weight, least) for j in range(s.shape[1])])
    return temperature**2 * (beta * inter + gamma * intra)


def revised_reference(teacher, labels, eta):
    p = softmax(teacher, axis=1)
    for row, label in zip(p, labels, strict=True):
        if row.argmax() != label:
            b = eta / (row.max() - row[label] + 1)
            row *= b
            row[label] += 1 - b
    return p


def huber(distances, furthest):
    return np.where(distances <= furthest, distances**2, 2 * furthest * distances - furthest**2)


def label_revision_reference(student, teacher, labels, weight, eta=0.8):
    right = (teacher.argmax(1) == labels) * weight
    wrong = weight - right
    cross_entropy = -log_softmax(student, axis=1)[np.arange(len(labels)), labels]
    logits = huber(np.sqrt(((student - teacher) ** 2).mean(1)), 6)
    revised = ((softmax(student, axis=1) - revised_reference(teacher, labels, eta)) ** 2).mean(1)
    mean = lambda values, w: (values * w).sum() / w.sum() if w.sum() else 0.0  # noqa: E731
    return mean(cross_entropy + 4 * logits, right) + mean(revised, wrong)


# A column's statistics need the rows of all processes.
GATHERED = {"gather": True}

CASES = (
    LossCase(losses.kd_loss, kd_reference, twin=losses.KDLoss),
    LossCase(
        losses.dist_loss,
        dist_reference,
        settings={"temperature": 4.0, "beta": 2.0},
        twin=losses.DISTLoss,
        across_processes=GATHERED,
    ),
    # As published, and with a bound that holds for most rows and columns of the tests.
    *(
        LossCase(
            losses.dist_loss,
            partial(dist_reference, min_spread=spread),
            name=f"dist_loss from {spread:g}",
            settings={"temperature": 4.0, "beta": 2.0, "min_spread": spread},
            twin=losses.DISTLoss,
            zero_at_teacher=spread == 0,
            bounded=spread > 0,
            across_processes=GATHERED,
        )
        for spread in (0.0, 4.0)
    ),
    LossCase(
        losses.label_revision_loss,
        label_revision_reference,
        twin=losses.LabelRevisionLoss,
        zero_at_teacher=False,
        # Its two means divide by how many rows the teacher has right and wrong, which differs between processes.
        across_processes=None,
    ),
)
