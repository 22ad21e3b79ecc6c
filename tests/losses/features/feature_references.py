"""The losses of features in NumPy float64, written from their equations; weights (n,) are all ones if none."""

import numpy as np


def huber(difference):
    size = np.abs(difference)
    return np.where(size < 1, size**2 / 2, size - 0.5)


def mean_of(rows, weight):
    return (rows * weight).sum() / weight.sum() if weight.sum() else 0.0


def average_to(maps, height, width):
    """Adaptive average pooling: cell i covers floor(i H / h) up to ceil((i + 1) H / h)."""
    n, c, h, w = maps.shape
    pooled = np.empty((n, c, height, width))
    for i in range(height):
        for j in range(width):
            rows = slice(i * h // height, -(-(i + 1) * h // height))
            columns = slice(j * w // width, -(-(j + 1) * w // width))
            pooled[:, :, i, j] = maps[:, :, rows, columns].mean((2, 3))
    return pooled


def smaller(student, teacher):
    size = [min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    return average_to(student, *size), average_to(teacher, *size)


def mimic(student, teacher, weight):
    return mean_of(np.array([np.mean((s - t) ** 2) for s, t in zip(student, teacher, strict=True)]), weight)


def at(student, teacher, weight, power=2):
    student, teacher = smaller(student, teacher)
    rows = []
    for s, t in zip(student, teacher, strict=True):
        one, other = ((np.abs(f) ** power).sum(0).ravel() for f in (s, t))
        rows.append(np.mean((one / np.linalg.norm(one) - other / np.linalg.norm(other)) ** 2))
    return mean_of(np.array(rows), weight)


def kept(weight, *features):
    """A row of weight w counts like w copies of it: whole weights become copies, and the equations stay plain."""
    return [np.repeat(f.reshape(len(f), -1), weight.astype(int), axis=0) for f in features]


def sp(student, teacher, weight):
    student, teacher = kept(weight, student, teacher)
    if not len(student):
        return 0.0
    grams = [f @ f.T for f in (student, teacher)]
    one, other = (g / np.sqrt((g**2).sum(1, keepdims=True)) for g in grams)
    return ((one - other) ** 2).sum() / len(student) ** 2


def rkd(student, teacher, weight, distance=25, angle=50, nearest=1.0):
    n = len(student)
    student, teacher = student.reshape(n, -1), teacher.reshape(n, -1)
    total = weight.sum()
    if not total:
        return 0.0

    def distances(x):
        d = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
        others = np.outer(weight, weight) * (1 - np.eye(n))
        mean = (others * d).sum() / others.sum() if others.sum() else 0
        return d / max(mean, nearest)

    def cosine(x, i, j, k):
        a, b = x[j] - x[i], x[k] - x[i]
        return a @ b / max(np.linalg.norm(a), nearest) / max(np.linalg.norm(b), nearest)

    by_distance = (np.outer(weight, weight) * huber(distances(student) - distances(teacher))).sum() / total**2
    by_angle = sum(
        weight[i] * weight[j] * weight[k] * huber(cosine(student, i, j, k) - cosine(teacher, i, j, k))
        for i in range(n)
        for j in range(n)
        for k in range(n)
    )
    return distance * by_distance + angle * by_angle / total**3


def pkt(student, teacher, weight, eps=1e-7):
    student, teacher = kept(weight, student, teacher)
    if not len(student):
        return 0.0
    probabilities = []
    for f in (student, teacher):
        f = f / np.linalg.norm(f, axis=1, keepdims=True)
        kernel = (f @ f.T + 1) / 2
        probabilities.append(kernel / kernel.sum(1, keepdims=True))
    s, t = probabilities
    return np.mean(t * np.log((t + eps) / (s + eps)))


def hierarchical_context(student, teacher, weight):
    rows = ((student - teacher) ** 2).mean((1, 2, 3))
    total, share = 1.0, 1.0
    for size in (4, 2, 1):
        if size < student.shape[2]:
            share /= 2
            total += share
            pair = average_to(student, size, size), average_to(teacher, size, size)
            rows = rows + share * ((pair[0] - pair[1]) ** 2).mean((1, 2, 3))
    return mean_of(rows / total, weight)


def pointwise(maps, kernel, bias=0.0):
    """A 1x1 convolution: (n, c, h, w) by (out, c)."""
    return np.einsum("nchw,oc->nohw", maps, kernel) + np.reshape(bias, (-1, 1, 1))


def fitnet(student, teacher, weight, kernel, bias):
    student, teacher = smaller(student, teacher)
    return mimic(pointwise(student, kernel, bias), teacher, weight)


def vid(student, teacher, weight, kernels, alpha):
    student, teacher = smaller(student, teacher)
    for number, kernel in enumerate(kernels):
        student = pointwise(student if number == 0 else np.maximum(student, 0), kernel)
    variance = (np.log(1 + np.exp(alpha)) + 1e-5).reshape(-1, 1, 1)
    rows = (((teacher - student) ** 2 / variance + np.log(variance)) / 2).mean((1, 2, 3))
    return mean_of(rows, weight)


def contrast(own, others, temperature, samples, eps=1e-7):
    """One side of CRD before any mean: own (n, d), others (n, 1 + k, d), the first one the positive."""
    scores = np.exp(np.einsum("nd,nkd->nk", own, others) / temperature)
    ratios = scores / (scores.mean() * samples)
    noise = (others.shape[1] - 1) / samples
    positive = np.log(ratios[:, 0] / (ratios[:, 0] + noise + eps))
    return -positive, -np.log(noise / (ratios[:, 1:] + noise + eps))
