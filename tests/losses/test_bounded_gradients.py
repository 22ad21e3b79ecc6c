"""What bounds a loss's first gradient, and labels of any whole type."""

import pytest
import torch
from test_all_losses import CASES, rows

from limbeck.targets import SemanticTarget, rectify_logits, truncate_logits
from limbeck.testing import loss_checks


@pytest.mark.parametrize("name", ["dist_loss from 0", "cmkd_loss from 0"])
def test_the_published_formulas_need_the_bound(name):
    check = loss_checks(CASES["kd_loss"])["bounded"]
    with pytest.raises(AssertionError, match="got a gradient of .*, expected at most"):
        check(CASES[name], "cpu", torch.float32)


def best_only(logits, labels):
    return truncate_logits(logits, 1, rest="drop")


def semantic(logits, labels):
    return SemanticTarget(torch.eye(logits.shape[1]).roll(1, 0))(logits, labels)


@pytest.mark.parametrize("target", [best_only, semantic])
@pytest.mark.parametrize("name", ["reverse_kl_loss", "logit_mse_loss"])
def test_dropped_classes_do_not_outweigh_the_loss(name, target):
    labels = torch.arange(16) % 10
    logits = rectify_logits(rows(16, 10, dtype=torch.float32)[0], labels)
    assert CASES[name](logits, target(logits, labels), labels) < 5000


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_labels_of_any_whole_type(dtype):
    student, teacher, _ = rows(dtype=torch.float32)
    labels = torch.arange(7) % 5
    for case in CASES.values():
        assert torch.equal(case(student, teacher, labels.to(dtype)), case(student, teacher, labels))
