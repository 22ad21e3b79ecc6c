"""The first gradient of every loss of logits is at most 50 times that of cross-entropy, however little they vary."""

import pytest
import torch
from test_all_losses import CASES
from torch.nn import functional as F

from limbeck.targets import SemanticTarget, rectify_logits, truncate_logits

BOUNDED = [case for case in CASES.values() if not case.published]
# How far logits vary: not at all, as those of a zero-initialized head, or next to nothing.
SPREADS = (0.0, 1e-6, 1e-3)


def certain(logits, labels):
    return (60 * F.one_hot(labels, logits.shape[1]) - 30).to(logits.dtype)


def wrong(logits, labels):
    return certain(logits, (labels + 1) % logits.shape[1])


def usual(logits, labels):
    # Right in all rows: label revision averages over the right ones, each of which counts for more where they are few.
    drawn = 3 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).to(logits.dtype)
    return rectify_logits(drawn, labels)


def best_only(logits, labels):
    return truncate_logits(usual(logits, labels), 1, rest="drop")


def semantic(logits, labels):
    return SemanticTarget(torch.eye(logits.shape[1]).roll(1, 0))(logits, labels)


def students(rows, classes, dtype):
    """Yield logits of each spread, of rows that differ and of rows that are identical."""
    generator = torch.Generator().manual_seed(rows + classes)
    for spread in SPREADS:
        logits = (spread * torch.randn(rows, classes, generator=generator)).to(dtype)
        yield logits
        yield logits[:1].repeat(rows, 1)


def first_gradient(loss, logits):
    logits = logits.requires_grad_(True)
    value = loss(logits)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert gradient.isfinite().all()
    return gradient.double().norm().item()


def of_cross_entropy(labels, classes):
    return first_gradient(lambda logits: F.cross_entropy(logits, labels), torch.zeros(len(labels), classes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("teacher", [certain, wrong, usual, best_only, semantic], ids=lambda teacher: teacher.__name__)
@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("case", BOUNDED, ids=lambda case: case.name)
def test_first_gradient_is_at_most_50_times_that_of_cross_entropy(case, classes, teacher, dtype):
    for rows in (1, 16):
        labels = torch.arange(rows) % classes
        limit = 50 * of_cross_entropy(labels, classes)
        for logits in students(rows, classes, dtype):
            target = teacher(logits, labels)
            found = first_gradient(lambda s, t=target, y=labels: case(s, t, y), logits)
            assert found <= limit


@pytest.mark.parametrize("name", ["dist from 0", "cmkd from 0"])
def test_the_published_formulas_need_the_bound(name):
    labels = torch.arange(16) % 10
    logits = torch.zeros(16, 10)
    gradient = first_gradient(lambda s: CASES[name](s, usual(s, labels), labels), logits)
    assert gradient > 50 * of_cross_entropy(labels, 10)


@pytest.mark.parametrize("target", [best_only, semantic])
@pytest.mark.parametrize("name", ["reverse_kl", "logit_mse"])
def test_dropped_classes_do_not_outweigh_the_loss(name, target):
    labels = torch.arange(16) % 10
    logits = usual(torch.zeros(16, 10), labels)
    assert CASES[name](logits, target(logits, labels), labels) < 5000


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_labels_of_any_whole_type(dtype):
    labels = torch.arange(7) % 5
    for case in CASES.values():
        student, teacher = (3 * torch.randn(7, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
        assert torch.equal(case(student, teacher, labels.to(dtype)), case(student, teacher, labels))


def test_no_rows_give_a_zero_that_is_tied_to_the_graph():
    for case in CASES.values():
        student = torch.zeros(0, 5, requires_grad=True)
        for weight in (None, torch.ones(0)):
            loss = case(student, torch.zeros(0, 5), torch.zeros(0, dtype=torch.long), weight)
            assert loss.item() == 0
            (gradient,) = torch.autograd.grad(loss, student)
            assert gradient.shape == (0, 5)
