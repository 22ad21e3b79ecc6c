"""Losses on logits beside KD and DIST: divergences, DKD, NKD, TTM and WTTM, CMKD, RLD, from their papers' equations."""

from functools import partial

import numpy as np
from cases_first import huber
from scipy.special import expit, log_softmax, softmax
from scipy.stats import entropy

from limbeck import losses
from limbeck.testing import LossCase


def average(rows, weight):
    return np.average(rows, weights=weight) if weight.sum() else 0.0


def softened(student, teacher, temperature):
    return softmax(student / temperature, axis=1), softmax(teacher / temperature, axis=1)


def reverse_kl_reference(student, teacher, labels, weight, temperature=4.0):
    p_s, p_t = softened(student, teacher, temperature)
    return temperature**2 * average(entropy(p_s, p_t, axis=1), weight)


def jsd_reference(student, teacher, labels, weight, temperature=4.0, beta=0.3):
    p_s, p_t = softened(student, teacher, temperature)
    mixture = beta * p_t + (1 - beta) * p_s
    rows = beta * entropy(p_t, mixture, axis=1) + (1 - beta) * entropy(p_s, mixture, axis=1)
    return temperature**2 * average(rows, weight)


def logit_mse_reference(student, teacher, labels, weight):
    return average(huber(np.sqrt(((student - teacher) ** 2).mean(axis=1)), 24), weight)


def without(row, label):
    rest = np.delete(row, label)
    return rest / rest.sum()


def pair(row, label):
    return np.array([row[label], np.delete(row, label).sum()])


def dkd_reference(student, teacher, labels, weight, temperature=4.0, alpha=1.0, beta=8.0):
    rows = [
        alpha * entropy(pair(t, y), pair(s, y)) + beta * entropy(without(t, y), without(s, y))
        for s, t, y in zip(*softened(student, teacher, temperature), labels, strict=True)
    ]
    return temperature**2 * average(rows, weight)


def nkd_reference(student, teacher, labels, weight, temperature=3.0, gamma=3.5):
    rows = []
    for s, t, y in zip(student, teacher, labels, strict=True):
        target = -softmax(t)[y] * np.log(softmax(s)[y])
        others = softmax(np.delete(t, y) / temperature) @ np.log(softmax(np.delete(s, y) / temperature))
        rows.append(target - gamma * temperature**2 * others)
    return average(rows, weight)


def transformed(teacher, temperature):
    powers = softmax(teacher, axis=1) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True), powers.sum(axis=1)


def ttm_reference(student, teacher, labels, weight, temperature=10.0):
    return average(entropy(transformed(teacher, temperature)[0], softmax(student, axis=1), axis=1), weight)


def wttm_reference(student, teacher, labels, weight, temperature=5.0):
    probabilities, total = transformed(teacher, temperature)
    return average(total * entropy(probabilities, softmax(student, axis=1), axis=1), weight)


def z_score(logits, least):
    return (logits - logits.mean(1, keepdims=True)) / np.sqrt(np.maximum(logits.var(1, keepdims=True), least**2) + 1e-3)


def bounded_correlation(a, b, least):
    a, b = a - a.mean(), b - b.mean()
    return a @ b / np.prod([max(np.sqrt(side @ side), least) for side in (a, b)])


def ranks(row, temperature):
    return np.array([sum(expit((x - other) / temperature) for other in row) for x in row])


def softened_ranks(logits, z, temperature, least):
    share = min(1, logits.var() / least**2) if least else 1
    softest = temperature + (1 - temperature) * (1 - share) if temperature < 1 else temperature
    return ranks(z, softest)


def cmkd_reference(
    student,
    teacher,
    labels,
    weight,
    temperature=2.0,
    rank_temperature=0.3,
    alpha=2.0,
    beta=3.0,
    least=losses.MIN_SPREAD,
):
    rows, classes = [], student.shape[1]
    for s, t, one, raw in zip(z_score(student, least), z_score(teacher, least), student, teacher, strict=True):
        hard = entropy(softmax(raw)) / np.log(len(raw))
        of_values, of_ranks = 1 / classes / max(1, temperature), 0.25 * classes / max(1, rank_temperature)
        pearson = bounded_correlation(softmax(s / temperature), softmax(t / temperature), of_values)
        soft = [softened_ranks(side, z, rank_temperature, least) for side, z in ((one, s), (raw, t))]
        spearman = bounded_correlation(*soft, of_ranks)
        rows.append(alpha * (1 - hard) * (1 - pearson) + beta * hard * (1 - spearman))
    return average(rows, weight)


def rld_reference(student, teacher, labels, weight, temperature=4.0, confidence=2.0, alpha=1.0, beta=8.0):
    rows = []
    for s, t, y in zip(student, teacher, labels, strict=True):
        p_s, p_t = softmax(s / confidence), softmax(t / confidence)
        row = alpha * confidence**2 * entropy([p_t.max(), 1 - p_t.max()], [p_s[y], 1 - p_s[y]])
        below = t < t[y]
        if below.any():
            log_s, log_t = log_softmax(s[below] / temperature), log_softmax(t[below] / temperature)
            row += beta * temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum()
        rows.append(row)
    return average(rows, weight)


CMKD = {"temperature": 2.0, "rank_temperature": 0.3, "alpha": 2.0, "beta": 3.0}

CASES = (
    LossCase(losses.reverse_kl_loss, reverse_kl_reference, twin=losses.ReverseKLLoss),
    LossCase(losses.jsd_loss, jsd_reference, settings={"beta": 0.3}, twin=losses.JSDLoss),
    LossCase(losses.logit_mse_loss, logit_mse_reference, twin=losses.LogitMSELoss),
    LossCase(losses.dkd_loss, dkd_reference, twin=losses.DKDLoss, least_classes=2),
    LossCase(
        losses.nkd_loss,
        nkd_reference,
        settings={"temperature": 3.0, "gamma": 3.5},
        twin=losses.NKDLoss,
        zero_at_teacher=False,
        least_classes=2,
    ),
    LossCase(losses.ttm_loss, ttm_reference, twin=losses.TTMLoss, zero_at_teacher=False),
    LossCase(losses.wttm_loss, wttm_reference, twin=losses.WTTMLoss, zero_at_teacher=False),
    LossCase(losses.cmkd_loss, cmkd_reference, settings=CMKD, twin=losses.CMKDLoss),
    *(
        LossCase(
            losses.cmkd_loss,
            partial(cmkd_reference, least=spread),
            name=f"cmkd_loss from {spread:g}",
            settings={**CMKD, "min_spread": spread},
            twin=losses.CMKDLoss,
            zero_at_teacher=spread == 0,
            bounded=spread > 0,
        )
        for spread in (0.0, 4.0)
    ),
    LossCase(
        losses.rld_loss,
        rld_reference,
        settings={"confidence_temperature": 2.0},
        twin=losses.RLDLoss,
        zero_at_teacher=False,
        least_classes=2,
    ),
)
