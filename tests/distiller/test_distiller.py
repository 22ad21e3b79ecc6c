"""``Distiller`` in a person's own loop."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import limbeck
from limbeck.errors import UserError
from limbeck.teachers import LightweightBank, LightweightTeacher, LiveTeacher


def net(classes=4, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, classes))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 6, generator=generator), torch.randint(4, (32,), generator=generator)


def lightweight():
    return LightweightTeacher(LightweightBank(torch.randn(4, 5, 4), accuracy=1.0))


@pytest.mark.parametrize(
    "method",
    [
        "none",
        "label_smoothing",
        "kd",
        "dist",
        "dr_kd",
        "lr",
        "lw_kd",
        "tf_kd_self",
        "tf_kd_reg",
        "lr+dist",
        "dr_kd+dist",
    ],
)
def test_the_loss_is_the_sum_of_its_parts_and_trains_the_student(method, batch):
    needs_none = method in ("tf_kd_reg", "none", "label_smoothing")
    teacher = None if needs_none else lightweight() if method == "lw_kd" else net(seed=1)
    distiller = limbeck.Distiller(net(), teacher, method=method)
    out = distiller(*batch)
    torch.testing.assert_close(out.loss, torch.stack(list(out.parts.values())).sum())
    out.loss.backward()
    assert out.logits.shape == (32, 4)
    assert all(parameter.grad.isfinite().all() for parameter in distiller.parameters())


def test_kd_is_its_equation(batch):
    student, teacher = net().eval(), net(seed=1)
    out = limbeck.Distiller(student, teacher, method="kd")(*batch)
    logits, teacher_logits = student(batch[0]), teacher.eval()(batch[0])
    kl = F.kl_div((logits / 4).log_softmax(1), (teacher_logits / 4).softmax(1), reduction="batchmean")
    torch.testing.assert_close(out.loss, 0.1 * F.cross_entropy(logits, batch[1]) + 0.9 * 16 * kl)


def test_dr_kd_is_tf_kd_where_the_teacher_is_right(batch):
    student, teacher = net().eval(), net(seed=1).eval()
    right = teacher(batch[0]).argmax(1)
    one = limbeck.Distiller(student, teacher, method="dr_kd")(batch[0], right)
    other = limbeck.Distiller(student, teacher, method="tf_kd_self")(batch[0], right)
    torch.testing.assert_close(one.loss, other.loss, rtol=0, atol=0)


def test_the_teacher_is_frozen_in_eval_mode_and_hidden(batch):
    teacher = net(seed=1)
    before = copy.deepcopy(teacher.state_dict())
    distiller = limbeck.Distiller(net(), teacher, method="kd")
    distiller.train()
    assert not teacher.training
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.1)
    distiller(*batch).loss.backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(name.startswith("student.") for name in distiller.state_dict())
    assert len(list(distiller.parameters())) == len(list(distiller.student.parameters()))
    distiller.eval()
    distiller.train()
    assert distiller.student.training


def test_a_teacher_may_be_kept_in_train_mode_on_purpose(batch):
    network = net(seed=1)
    distiller = limbeck.Distiller(net(), LiveTeacher(network, train_mode=True), method="kd")
    distiller.eval()
    assert network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_student_stays_the_plain_module(batch):
    student = net()
    names = set(student.state_dict())
    distiller = limbeck.Distiller(student, net(seed=1), method="kd")
    distiller(*batch).loss.backward()
    assert distiller.student is student
    assert set(student.state_dict()) == names


def test_extra_parts_are_registered_and_optimized(batch):
    distiller = limbeck.Distiller(net(), lightweight(), method="lw_kd")
    extra = list(distiller.extra_parameters())
    assert extra
    assert len(list(distiller.parameters())) == len(extra) + len(list(distiller.student_parameters()))
    assert any("discriminator" in name for name in distiller.state_dict())
    before = [parameter.clone() for parameter in extra]
    optimizer = torch.optim.Adam(distiller.parameters(), lr=0.01)
    out = distiller(*batch)
    assert set(out.parts) == {"ce", "kd", "adversarial", "discriminator"}
    out.loss.backward()
    optimizer.step()
    assert all(not torch.equal(one, other) for one, other in zip(before, extra, strict=True))


def test_the_discriminators_part_gives_the_student_no_gradient(batch):
    student = net().eval()
    distiller = limbeck.Distiller(student, lightweight(), method="lw_kd")
    distiller(*batch).parts["discriminator"].backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in student.parameters())


def test_state_survives_a_round_trip_without_the_teacher(batch):
    one = limbeck.Distiller(net(), lightweight(), method="lw_kd")
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    other = limbeck.Distiller(net(seed=5), lightweight(), method="lw_kd")
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for name, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
        assert "teacher" not in name
        assert "bank" not in name


def test_two_distillers_are_independent(batch):
    one = limbeck.Distiller(net().eval(), net(seed=1), method="dist")
    alone = one(*batch).loss
    limbeck.Distiller(net(seed=3), net(seed=4), method="lr")(*batch)
    torch.testing.assert_close(one(*batch).loss, alone, rtol=0, atol=0)


def test_a_copy_is_independent(batch):
    one = limbeck.Distiller(net().eval(), net(seed=1), method="kd")
    other = copy.deepcopy(one)
    torch.testing.assert_close(other(*batch).loss, one(*batch).loss)
    assert other.teacher is not one.teacher
    with torch.no_grad():
        next(other.student.parameters()).add_(1)
    assert not torch.equal(next(other.student.parameters()), next(one.student.parameters()))


def in_another_process(rank, world, distiller, inputs, labels):
    return distiller(inputs, labels).loss.item()


def test_a_distiller_can_be_sent_to_another_process(batch, pair):
    distiller = limbeck.Distiller(net().eval(), net(seed=1), method="revise+kd")
    alone = distiller(*batch).loss.item()
    assert pair.run(in_another_process, distiller, *batch) == pytest.approx([alone] * 2, rel=1e-6)


def test_the_teacher_follows_to_another_type(batch):
    teacher = net(seed=1)
    limbeck.Distiller(net(), teacher, method="kd").double()
    assert next(teacher.parameters()).dtype == torch.float64


def test_a_last_batch_of_one_sample():
    distiller = limbeck.Distiller(net().eval(), net(seed=1), method="dist")
    out = distiller(torch.randn(1, 6), torch.tensor([2]))
    out.loss.backward()
    assert out.logits.shape == (1, 4)
    assert out.loss.isfinite()


@pytest.mark.parametrize("divide_by", ["all", "selected"])
def test_selection_over_the_training_set_decides_which_samples_are_supervised(batch, divide_by):
    inputs, labels = batch
    method = limbeck.methods.create("revise+select+kd", divide_by=divide_by)
    distiller = limbeck.Distiller(net().eval(), net(seed=1), method=method)
    mask = distiller.select([(inputs, labels, torch.arange(32))])
    assert 24 <= int(mask.sum()) <= 27
    out = distiller(inputs, labels, torch.arange(32))
    plain = limbeck.Distiller(distiller.student, distiller.teacher.network, method="revise+kd")
    expected = plain(inputs[mask], labels[mask])
    share = int(mask.sum()) / 32 if divide_by == "all" else 1.0
    torch.testing.assert_close(out.parts["kd"], share * expected.parts["kd"])
    torch.testing.assert_close(out.parts["ce"], plain(inputs, labels).parts["ce"])


def test_a_selection_is_saved_and_read_again(batch):
    indices = torch.arange(32)
    chosen, fresh = (limbeck.Distiller(net(seed=seed).eval(), net(seed=1), method="select+lr") for seed in (0, 2))
    chosen.select([(*batch, indices)])
    saved = chosen.state_dict()
    fresh.load_state_dict(saved)
    assert torch.equal(fresh(*batch, indices).loss, chosen(*batch, indices).loss)
    # What was read is a copy, and a state without a selection takes one back.
    saved["selected"].zero_()
    assert fresh.selected.any()
    del saved["selected"]
    fresh.load_state_dict(saved)
    with pytest.raises(UserError, match=r"call distiller\.select"):
        fresh(*batch, indices)


@pytest.mark.parametrize("scorer", ["random", "agreement", "confidence", "el2n"])
def test_selection_within_a_batch_needs_no_preparation(scorer, batch):
    method = limbeck.methods.create("select+kd", scorer=scorer, ratio=0.5)
    out = limbeck.Distiller(net().eval(), net(seed=1), method=method)(*batch)
    assert out.parts["kd"].isfinite()


def random_parts(batch, seed, *, indices=None, epoch=0):
    method = limbeck.methods.create("select+kd", scorer="random", ratio=0.5, per_class=False)
    distiller = limbeck.Distiller(net().eval(), net(seed=1), method, seed=seed)
    return distiller(*batch, indices, epoch).parts["kd"]


def test_a_random_selection_within_a_batch_follows_seed_and_samples(batch):
    indices = torch.arange(100, 132)
    torch.manual_seed(1)
    one = random_parts(batch, 0, indices=indices)
    torch.manual_seed(2)
    order = torch.randperm(32)
    again = random_parts((batch[0][order], batch[1][order]), 0, indices=indices[order], epoch=3)
    torch.testing.assert_close(again, one)
    assert not torch.isclose(random_parts(batch, 1, indices=indices), one)
    assert not torch.isclose(random_parts(batch, 0, indices=indices + 32), one)


def test_without_indices_it_follows_seed_epoch_and_places(batch):
    torch.manual_seed(1)
    one = random_parts(batch, 0)
    torch.manual_seed(2)
    assert torch.equal(random_parts(batch, 0), one)
    assert not torch.isclose(random_parts(batch, 1), one)
    assert not torch.isclose(random_parts(batch, 0, epoch=1), one)


@pytest.mark.parametrize("loss", ["kd", "dist", "dkd", "cmkd", "nkd", "rld"])
def test_divided_by_all_rows_a_selection_lowers_the_weight_of_its_teacher(batch, loss):
    settings = {"scorer": "confidence", "ratio": 0.25, "per_class": False}
    student, teacher = net().eval(), net(seed=1)
    selected, every = (
        limbeck.Distiller(student, teacher, limbeck.methods.create(f"select+{loss}", divide_by=divide_by, **settings))
        for divide_by in ("selected", "all")
    )
    one, other = selected(*batch), every(*batch)
    torch.testing.assert_close(other.parts[loss], one.parts[loss] / 4)
    assert torch.equal(other.parts["ce"], one.parts["ce"])
    torch.testing.assert_close(other.loss, torch.stack(list(other.parts.values())).sum())


@pytest.mark.parametrize("scorer", ["influence", "confidence"])
def test_a_shuffled_selection_has_as_many_samples_of_each_class(scorer, batch):
    def mask(**settings):
        method = limbeck.methods.create("select+kd", scorer=scorer, ratio=0.5, **settings)
        return limbeck.Distiller(net().eval(), net(seed=1), method).select([(*batch, torch.arange(32))])

    plain, control = mask(), mask(shuffled=True)
    assert not torch.equal(plain, control)
    assert torch.equal(mask(shuffled=True), control)
    assert torch.equal(batch[1][plain].bincount(minlength=4), batch[1][control].bincount(minlength=4))


@pytest.mark.parametrize("scorer", ["influence", "random", "agreement", "confidence", "el2n"])
def test_every_scorer_selects_over_the_training_set(scorer, batch):
    method = limbeck.methods.create("select+kd", scorer=scorer, ratio=0.5, per_class=False)
    distiller = limbeck.Distiller(net(), net(seed=1), method=method)
    mask = distiller.select([(*batch, torch.arange(32))])
    assert int(mask.sum()) == 16
    assert distiller.student.training


def test_agreement_is_judged_before_revision_makes_everything_right(batch):
    teacher = net(seed=1).eval()
    method = limbeck.methods.create("revise+select+kd", scorer="agreement", ratio=0.25, per_class=False)
    distiller = limbeck.Distiller(net(), teacher, method=method)
    mask = distiller.select([(*batch, torch.arange(32))])
    right = teacher(batch[0]).argmax(1) == batch[1]
    assert right[mask].sum() == min(8, int(right.sum()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: limbeck.Distiller(net(), method="kd"), "method 'kd': needs a teacher, pass teacher="),
        (
            lambda: limbeck.Distiller(net(), method="dr_kd"),
            "needs a teacher, pass teacher=, a trained copy of the student",
        ),
        (lambda: limbeck.Distiller(net(), method="lw_kd"), "needs a teacher, pass teacher=LightweightTeacher"),
        (lambda: limbeck.Distiller(net(), net(), method="dits"), "unknown method 'dits'"),
        (lambda: limbeck.Distiller(nn.Flatten(), method="tf_kd_reg"), "num_classes: not given"),
    ],
)
def test_mistakes_at_construction(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value)


def test_a_student_cannot_be_its_own_live_teacher():
    student = net()
    with pytest.raises(UserError, match="got the student itself"):
        limbeck.Distiller(student, student, method="tf_kd_self")


@pytest.mark.parametrize(
    ("student", "teacher", "labels", "message"),
    [
        (
            net(),
            net(5),
            torch.zeros(32, dtype=torch.long),
            "teacher_logits: got (32, 5), expected the student's shape (32, 4)",
        ),
        (net(), net(), torch.full((32,), 7), "labels: got values from 7 to 7, expected 0 to 3"),
        (nn.Linear(6, 4).double(), net(), torch.zeros(32), "labels: got (32,) torch.float32"),
        (nn.Unflatten(1, (2, 3)), net(), torch.zeros(32, dtype=torch.long), "the student's output: got (32, 2, 3)"),
    ],
)
def test_mistakes_in_a_batch(student, teacher, labels, message):
    distiller = limbeck.Distiller(student, teacher, method="kd", num_classes=4)
    inputs = torch.randn(32, 6, dtype=next((p.dtype for p in student.parameters()), torch.float32))
    with pytest.raises(UserError) as error:
        distiller(inputs, labels)
    assert message in str(error.value)


def test_influence_needs_the_training_set_first(batch):
    distiller = limbeck.Distiller(net(), net(seed=1), method="select+lr")
    with pytest.raises(UserError, match="call distiller.select"):
        distiller(*batch)
    distiller.select([(*batch, torch.arange(32))])
    with pytest.raises(UserError, match="indices: got None"):
        distiller(*batch)
