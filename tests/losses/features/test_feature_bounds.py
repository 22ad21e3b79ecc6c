"""The gradient of every loss of features is bounded where features are all but constant, as that of logits is."""

import pytest
import torch
from test_feature_losses import LOSSES, made
from torch.nn import functional as F

from limbeck.losses.features import ATLoss, ReviewKDLoss

# A zero-initialized layer, next to nothing, identical rows, and all but identical ones.
FEATURES = {"zero": (0, 0), "tiny": (0, 1e-6), "small": (0, 1e-3), "identical": (1, 0), "nearly identical": (1, 1e-3)}


def first_gradient(loss, student, labels):
    module = made(loss, [student.shape[1:]], [student.shape[1:]], torch.float32)
    # Batch norm divides by the spread of a batch, whatever loss comes behind it; here it has its first running one.
    module.train(loss is not ReviewKDLoss)
    certain = (60 * F.one_hot(labels, student.shape[1]) - 30).view(*student.shape[:2], *[1] * (student.ndim - 2))
    value = module([student], [certain.expand_as(student).float()], labels, None, torch.arange(len(student)))
    return torch.autograd.grad(value, student)[0]


def of_cross_entropy(rows, classes, labels):
    logits = torch.zeros(rows, classes, requires_grad=True)
    return torch.autograd.grad(F.cross_entropy(logits, labels), logits)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("loss", LOSSES)
def test_first_gradient_is_at_most_50_times_that_of_cross_entropy(loss, features, dtype):
    center, spread = FEATURES[features]
    for rows, classes in ((1, 2), (1, 100), (16, 2), (16, 10), (16, 100)):
        generator = torch.Generator().manual_seed(rows + classes)
        shape = (classes, 3, 3) if loss in (ATLoss, ReviewKDLoss) else (classes,)
        student = center * torch.randn(1, *shape, generator=generator)
        student = student + spread * torch.randn(rows, *shape, generator=generator)
        labels = torch.randint(classes, (rows,), generator=generator)
        gradient = first_gradient(loss, student.to(dtype).requires_grad_(True), labels)
        assert gradient.isfinite().all()
        assert gradient.float().norm() <= 50 * of_cross_entropy(rows, classes, labels).norm()
