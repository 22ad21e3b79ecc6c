"""Constructed teachers: answers to rows of ten classes, a quarter of which a student has wrong."""

import torch

from limbeck.advice import Answers

ROWS, CLASSES = 4000, 10
# The logit above nine zeros whose softmax is .95 sure, .9 and so on.
SURE = {0.6: 2.60, 0.7: 3.04, 0.9: 4.39, 0.95: 5.14, 0.99: 6.79}


def drawn(*shape, seed):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def others(labels):
    """Another class for each."""
    return (labels + 1 + (drawn(len(labels), seed=9) * (CLASSES - 1)).long()) % CLASSES


def logits(predictions, confidence):
    return SURE[confidence] * torch.nn.functional.one_hot(predictions, CLASSES).float()


def answers(kind):
    labels = torch.arange(ROWS) % CLASSES
    hard, chance = drawn(ROWS, seed=1) < 0.25, drawn(ROWS, seed=2)
    student = logits(torch.where(hard, others(labels), labels), 0.7)
    right = {
        "strong": ~hard | (chance < 0.8),
        "noisy": ~hard | (chance < 0.6),
        "overconfident": ~hard | (chance < 0.2),
        "wrong labels": chance > 0.1,
        "tiny": ~hard & (chance > 0.2),
        "near chance": chance < 0.12,
        "unsure": ~hard | (chance < 0.9),
        "exchanging": labels > 2,
    }[kind]
    sure = {"strong": 0.95, "noisy": 0.7, "overconfident": 0.99, "tiny": 0.6, "near chance": 0.6, "unsure": 0.6}
    predictions = torch.where(right, labels, others(labels))
    if kind == "exchanging":
        predictions = torch.where(right, labels, (labels + 1) % 3)
    return Answers(logits(predictions, sure.get(kind, 0.9)), labels, student)
