"""What ties the losses on logits to one another and to SciPy's statistics, and the errors of their own settings."""

import math

import pytest
import torch
from scipy.stats import rankdata, spearmanr
from test_all_losses import rows
from torch.nn import functional as F

from limbeck import losses
from limbeck.errors import UserError
from limbeck.losses.cmkd import cmkd_parts, soft_rank


def close(got, expected, **more):
    torch.testing.assert_close(got, torch.as_tensor(expected, dtype=got.dtype), **more)


def test_reverse_kl_is_kd_with_the_sides_exchanged():
    student, teacher, _ = rows()
    close(losses.reverse_kl_loss(student, teacher, temperature=2.0), losses.kd_loss(teacher, student, temperature=2.0))


def test_jsd_tends_to_the_two_divergences():
    student, teacher, _ = rows()
    near = {"rtol": 1e-4, "atol": 0}
    forward, reverse = losses.kd_loss(student, teacher), losses.reverse_kl_loss(student, teacher)
    assert forward.item() != pytest.approx(reverse.item(), rel=0.05)
    close(losses.jsd_loss(student, teacher, beta=1e-6) / 1e-6, forward, **near)
    close(losses.jsd_loss(student, teacher, beta=1 - 1e-6) / 1e-6, reverse, **near)


def test_jsd_is_symmetric_and_bounded_at_one_half():
    student, teacher, _ = rows()
    close(losses.jsd_loss(student, teacher), losses.jsd_loss(teacher, student))
    apart = torch.tensor([[1e4, -1e4]])
    close(losses.jsd_loss(apart, -apart, temperature=1.0), math.log(2))


@pytest.mark.parametrize("beta", [0, 1, -0.5, 1.5, float("nan")])
@pytest.mark.parametrize("call", [lambda b: losses.jsd_loss(*rows()[:2], beta=b), lambda b: losses.JSDLoss(beta=b)])
def test_jsd_names_a_wrong_share(call, beta):
    with pytest.raises(UserError, match=f"beta: got {beta}, expected a number between 0 and 1"):
        call(beta)


def test_logit_mse_is_twice_the_limit_of_kd_for_centered_rows():
    student, teacher = (logits - logits.mean(1, keepdim=True) for logits in rows()[:2])
    hot = 2 * losses.kd_loss(student, teacher, temperature=1e4)
    close(losses.logit_mse_loss(student, teacher), hot, rtol=1e-3, atol=0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_dkd_with_the_teachers_other_mass_is_kd(temperature):
    student, teacher, labels = rows(9, 6)
    mass = 1 - (teacher / temperature).softmax(1).gather(1, labels[:, None]).squeeze(1)
    for i in range(9):
        one = slice(i, i + 1)
        decoupled = losses.dkd_loss(
            student[one], teacher[one], labels[one], temperature=temperature, alpha=1.0, beta=mass[i].item()
        )
        close(decoupled, losses.kd_loss(student[one], teacher[one], temperature=temperature))


def test_dkd_of_two_classes_ignores_beta_and_is_kd():
    student, teacher, labels = rows(6, 2)
    close(losses.dkd_loss(student, teacher, labels, beta=99.0), losses.kd_loss(student, teacher))


def test_dkd_keeps_a_gradient_where_a_masked_softmax_has_none_left():
    student = torch.tensor([[200.0, 1.0, 0.0]], requires_grad=True)
    losses.dkd_loss(student, torch.tensor([[200.0, 0.0, 2.0]]), torch.tensor([0]), temperature=1.0).backward()
    others = torch.tensor([1.0, 0.0]).softmax(0) - torch.tensor([0.0, 2.0]).softmax(0)
    close(student.grad[0, 1:], 8 * others)


def test_nkd_least_is_the_teachers_entropy():
    teacher, labels = rows()[1:]
    one = F.one_hot(labels, 5).bool()
    log_others = teacher[~one].view(7, 4).log_softmax(1)
    log_target = teacher.log_softmax(1)[one]
    entropies = -log_target.exp() * log_target - 1.5 * (log_others.exp() * log_others).sum(1)
    close(losses.nkd_loss(teacher, teacher, labels), entropies.mean())


def test_nkd_ignores_the_others_total():
    student, teacher, labels = rows()
    moved = torch.where(F.one_hot(labels, 5).bool(), student, student + 3)
    close(
        losses.nkd_loss(student, teacher, labels) - losses.nkd_loss(moved, teacher, labels),
        (teacher.softmax(1) * (moved.log_softmax(1) - student.log_softmax(1))).gather(1, labels[:, None]).mean(),
    )


def test_ttm_at_temperature_one_is_kd_and_wttm_too():
    student, teacher, _ = rows()
    kd = losses.kd_loss(student, teacher, temperature=1.0)
    close(losses.ttm_loss(student, teacher, temperature=1.0), kd)
    close(losses.wttm_loss(student, teacher, temperature=1.0), kd)


@pytest.mark.parametrize("loss", [losses.ttm_loss, losses.wttm_loss])
def test_ttm_vanishes_where_the_student_is_the_softened_teacher(loss):
    teacher = rows()[1]
    assert loss(teacher / 3, teacher, temperature=3.0).item() == pytest.approx(0, abs=1e-12)


def test_ttm_is_kd_less_the_students_renyi_entropy():
    student, teacher, _ = rows()
    temperature = 3.0
    soft = (teacher / temperature).softmax(1)
    shannon = -(soft * soft.log()).sum(1).mean()
    power = 1 / temperature
    renyi = (student.softmax(1) ** power).sum(1).log().mean() / (1 - power)
    kd = losses.kd_loss(student, teacher, temperature=temperature) / temperature**2
    close(
        losses.ttm_loss(student, teacher, temperature=temperature),
        temperature * kd + (temperature - 1) * (shannon - renyi),
    )


def test_wttm_counts_a_row_between_1_and_c_to_the_power():
    certain, uniform = torch.tensor([[1e4, 0.0, 0.0, 0.0]]), torch.zeros(1, 4)
    student = torch.tensor([[1.0, 0.0, 0.0, 2.0]])
    for teacher, factor in ((certain, 1.0), (uniform, 4**0.8)):
        close(losses.wttm_loss(student, teacher), factor * losses.ttm_loss(student, teacher, temperature=5.0))


def test_soft_rank_is_the_rank():
    values = rows(6, 11)[0]
    close(soft_rank(values, temperature=1e-4), rankdata(values, axis=1), rtol=1e-6, atol=1e-6)
    close(soft_rank(values, temperature=0.7).sum(1), torch.full((6,), 66.0))


def test_cmkd_distance_is_spearmans():
    student, teacher, _ = rows(6, 11)
    expected = [1 - spearmanr(s, t).statistic for s, t in zip(student, teacher, strict=True)]
    close(cmkd_parts(student, teacher, rank_temperature=1e-4).spearman, expected, rtol=1e-5, atol=1e-5)


def test_cmkd_ignores_a_positive_affine_map_of_the_students_logits():
    student, teacher, _ = rows()
    close(losses.cmkd_loss(5 * student + 3, teacher), losses.cmkd_loss(student, teacher), rtol=1e-3, atol=0)


def test_cmkd_weighs_values_where_the_teacher_is_certain_and_ranks_where_not():
    student = rows(1, 5)[0]
    certain, uncertain = torch.tensor([[50.0, 0, 1, 2, 3]]).double(), torch.tensor([[5.0, 0, 1, 2, 3]]).double() * 1e-2
    assert losses.cmkd_loss(student, certain, alpha=0.0).item() == pytest.approx(0, abs=1e-9)
    assert losses.cmkd_loss(student, uncertain, beta=0.0).item() == pytest.approx(0, abs=1e-3)


def test_cmkd_gradient_of_an_untrained_student_is_small():
    student = torch.zeros(4, 10, requires_grad=True)
    losses.cmkd_loss(student, rows(4, 10, dtype=torch.float32)[1]).backward()
    assert 0 < student.grad.abs().max() < 100


def test_cmkd_names_a_wrong_rank_temperature():
    for call in (
        lambda: losses.CMKDLoss(rank_temperature=0),
        lambda: losses.cmkd_loss(*rows()[:2], rank_temperature=0),
    ):
        with pytest.raises(UserError, match="rank_temperature: got 0, expected a number greater than 0"):
            call()


def test_rld_of_a_right_teacher_is_dkd():
    student, teacher, _ = rows()
    labels = teacher.argmax(1)
    close(losses.rld_loss(student, teacher, labels), losses.dkd_loss(student, teacher, labels))


def test_rld_does_not_depend_on_the_classes_above_the_true_one():
    student, teacher, _ = rows()
    order = teacher.argsort(1)
    labels = order[:, 2]
    swapped = teacher.scatter(1, order[:, 3:], teacher.gather(1, order[:, 3:]).flip(1))
    student.requires_grad_(True)
    close(losses.rld_loss(student, swapped, labels), losses.rld_loss(student, teacher, labels))
    losses.rld_loss(student, teacher, labels, alpha=0.0).backward()
    assert (student.grad.gather(1, order[:, 2:]) == 0).all()
    assert (student.grad.gather(1, order[:, :2]) != 0).all()


def test_rld_of_a_row_whose_true_class_is_the_teachers_last_is_its_confidence_alone():
    student, teacher, _ = rows()
    labels = teacher.argmin(1)
    student.requires_grad_(True)
    loss = losses.rld_loss(student, teacher, labels, alpha=0.0)
    loss.backward()
    assert loss.item() == 0
    assert (student.grad == 0).all()
    assert losses.rld_loss(student, teacher, labels).item() > 0


def test_rld_names_a_wrong_confidence_temperature():
    with pytest.raises(UserError, match="confidence_temperature: got -1, expected a number greater than 0"):
        losses.rld_loss(*rows(), confidence_temperature=-1)


LABELED = [(losses.dkd_loss, losses.DKDLoss), (losses.nkd_loss, losses.NKDLoss), (losses.rld_loss, losses.RLDLoss)]


@pytest.mark.parametrize(("function", "module"), LABELED)
def test_losses_that_need_labels_are_marked(function, module):
    student, teacher, labels = rows()
    with pytest.raises(UserError, match=r"labels: got NoneType, expected 7 whole numbers of shape \(7,\)"):
        module()(student, teacher)
    with pytest.raises(UserError, match="labels: got values from 5 to 5, expected 0 to 4"):
        function(student, teacher, torch.full((7,), 5))
    with pytest.raises(UserError, match="student_logits: got 1 class, expected at least 2"):
        function(student[:, :1], teacher[:, :1], torch.zeros(7, dtype=torch.long))
    assert torch.equal(function(student, teacher, labels.to(torch.uint8)), function(student, teacher, labels))


@pytest.mark.parametrize(("function", "module"), LABELED)
def test_sides_may_differ_in_precision(function, module):
    student, teacher, labels = rows()
    both = function(student, teacher, labels)
    close(function(student.float(), teacher, labels).double(), both, rtol=1e-5, atol=1e-6)
    close(function(student, teacher.float(), labels).double(), both, rtol=1e-5, atol=1e-6)
