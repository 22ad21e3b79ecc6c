"""torchdistill as an independent peer for the losses on logits: same inputs, same value."""

import pytest
import torch
from test_all_losses import rows

from limbeck import losses

mid_level = pytest.importorskip("torchdistill.losses.mid_level")
WHERE = {
    "student_module_path": ".",
    "student_module_io": "output",
    "teacher_module_path": ".",
    "teacher_module_io": "output",
}


def peer(kind, student, teacher, labels=None, **settings):
    loss = getattr(mid_level, kind)(**WHERE, **settings)
    return loss({".": {"output": student}}, {".": {"output": teacher}}, labels)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_kd(temperature):
    student, teacher, labels = rows(16, 10)
    # Its loss is alpha CE + beta T^2 KL, batchmean; without alpha it leaves the T^2 out.
    theirs = peer("KDLoss", student, teacher, labels, temperature=temperature, alpha=0.1, beta=0.9)
    ours = 0.1 * torch.nn.functional.cross_entropy(student, labels)
    ours = ours + 0.9 * losses.kd_loss(student, teacher, temperature=temperature)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("shape", [(16, 10), (64, 100)])
def test_dist(temperature, shape):
    student, teacher, _ = rows(*shape)
    theirs = peer("DISTLoss", student, teacher, beta=2.0, gamma=1.5, tau=temperature)
    ours = losses.dist_loss(student, teacher, temperature=temperature, beta=2.0, gamma=1.5)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_lskd():
    student, teacher, labels = rows(16, 10)
    theirs = peer("LogitStdKDLoss", student, teacher, labels, temperature=2.0, alpha=0.1, beta=9.0)
    ours = 9 * losses.kd_loss(losses.standardize_logits(student), losses.standardize_logits(teacher), temperature=2.0)
    torch.testing.assert_close(ours + 0.1 * torch.nn.functional.cross_entropy(student, labels), theirs)
