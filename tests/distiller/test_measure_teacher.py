"""``tame`` in a person's own loop: measured over batches, in front of every target, kept in the state."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import limbeck
from dense_task import CLASSES, FieldBatches, FieldNet, Fields
from limbeck.cache import CachedTeacher, CacheSpec, LogitStore, RowFormat
from limbeck.errors import RunError, UserError
from limbeck.losses import kd_loss
from limbeck.rows import pixels
from limbeck.targets import mean_confidence, revise_logits, taming_temperature
from limbeck.teachers import EnsembleTeacher, LightweightBank, LightweightTeacher, Teacher
from weighed_rows import linear


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(48, 6, generator=generator), torch.randint(4, (48,), generator=generator), torch.arange(48)


def split(data, size=20):
    return zip(*(part.split(size) for part in data), strict=True)


def tamed(method="tame+kd", teacher=None, **settings):
    settings = {"max_confidence": 0.6, **settings} if "tame" in method else settings
    return limbeck.Distiller(linear(1), teacher or linear(2, 20), limbeck.methods.create(method, **settings))


def test_the_temperature_is_that_of_the_teachers_logits(data):
    distiller, teacher = tamed(), linear(2, 20)
    figures = distiller.measure_teacher(split(data))
    logits = teacher(data[0]).detach()
    assert figures["tame.temperature"] == pytest.approx(taming_temperature(logits), rel=1e-6)
    assert figures["tame.confidence"] == pytest.approx(mean_confidence(logits), rel=1e-6)
    _, targets = distiller.teacher_targets(*data)
    assert mean_confidence(targets) == pytest.approx(0.6, abs=1e-4)


@pytest.mark.parametrize("name", ["tame+revise+kd", "revise+tame+kd", "revise+kd+tame"])
def test_the_loss_is_that_of_logits_divided_before_any_other_target(data, name):
    distiller = tamed(name)
    tau = distiller.measure_teacher(split(data))["tame.temperature"]
    out = distiller(*data)
    target = revise_logits(linear(2, 20)(data[0]).detach() / tau, data[1])
    torch.testing.assert_close(out.parts["kd"], 0.9 * kd_loss(out.logits, target))


@pytest.mark.parametrize(
    "name", ["tame+lr", "tame+dist", "tame+dkd", "tame+lskd", "rectify+tame+top_k+kd", "tame+dr_kd", "tame+tf_kd_self"]
)
def test_it_stands_in_front_of_any_method(data, name):
    distiller = tamed(name)
    tau = distiller.measure_teacher(split(data))["tame.temperature"]
    plain = limbeck.Distiller(linear(1), linear(2, 20), "+".join(n for n in name.split("+") if n != "tame"))
    expected = plain.match(linear(1)(data[0]), linear(2, 20)(data[0]) / tau, data[1])
    torch.testing.assert_close(distiller(*data).loss, expected.loss)
    distiller(*data).loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in distiller.parameters())


def test_training_without_it_is_one_clear_line(data):
    distiller = tamed()
    for call in (distiller, lambda *batch: distiller.match(torch.zeros(48, 4), torch.zeros(48, 4), batch[1])):
        with pytest.raises(UserError, match=r"'tame\+kd'.* not measured, call distiller.measure_teacher\(batches\)"):
            call(*data)


@pytest.mark.parametrize(
    ("make", "batches", "error", "message"),
    [
        (lambda: tamed("kd"), [], UserError, "method 'kd': has nothing to measure"),
        (lambda: tamed("tame+kd", tau=2.0), [], UserError, "has nothing to measure"),
        (lambda: limbeck.Distiller(linear(0), method="none"), [], UserError, "method 'none': has no teacher"),
        (tamed, [], UserError, "batches: got no rows"),
        (tamed, [(torch.full((2, 6), torch.nan), torch.zeros(2).long())], RunError, "the teacher's logits: nan or inf"),
        (lambda: limbeck.Distiller(linear(1), linear(2), limbeck.methods.create("tame+kd", max_confidence=0.2),
                                   num_classes=4), [], UserError, "max_confidence: got 0.2, expected a number above"),
        (lambda: limbeck.methods.create("tame"), [], UserError, r"has no loss against the teacher"),
    ],
)  # fmt: skip
def test_bad_input(make, batches, error, message):
    with pytest.raises(error, match=message) as found:
        make().measure_teacher(batches)
    assert "\n" not in str(found.value)


def test_a_known_temperature_needs_no_measuring(data):
    distiller = tamed(tau=5.0)
    out = distiller(*data)
    torch.testing.assert_close(out.parts["kd"], 0.9 * kd_loss(out.logits, linear(2, 20)(data[0]) / 5))


def test_a_teacher_of_small_logits_is_sharpened_where_that_is_wanted(data):
    small = linear(2, 0.01)
    assert tamed(teacher=small).measure_teacher(split(data))["tame.temperature"] == 1
    distiller = tamed(teacher=small, sharpen=True)
    assert distiller.measure_teacher(split(data))["tame.temperature"] < 1
    _, targets = distiller.teacher_targets(*data)
    assert mean_confidence(targets) == pytest.approx(0.6, abs=1e-4)


def test_the_state_holds_it(data):
    distiller = tamed()
    assert not any("teacher_scale" in name for name in distiller.state_dict())
    distiller.measure_teacher(split(data))
    fresh = tamed()
    fresh.load_state_dict(distiller.state_dict())
    assert torch.equal(fresh(*data).loss, distiller(*data).loss)
    fresh.load_state_dict(tamed().state_dict())
    with pytest.raises(UserError, match="not measured"):
        fresh(*data)
    twin = copy.deepcopy(distiller)
    assert torch.equal(twin(*data).loss, distiller(*data).loss)


def test_a_student_in_half_precision_leaves_it_as_it_is(data):
    distiller = tamed()
    tau = distiller.measure_teacher(split(data))["tame.temperature"]
    distiller.bfloat16()
    assert distiller.teacher_scale.temperature.dtype == torch.float32
    assert distiller.teacher_scale.figures() == {"tame.temperature": tau}
    assert distiller(data[0].bfloat16(), *data[1:]).loss.isfinite()
    assert tamed().double().teacher_scale._place.dtype == torch.float64


def test_it_holds_in_bf16_autocast(data):
    distiller = tamed("tame+revise+dist")
    with torch.autocast("cpu", torch.bfloat16):
        distiller.measure_teacher(split(data))
        lowered = distiller(*data).loss
    torch.testing.assert_close(lowered.float(), distiller(*data).loss, rtol=0.05, atol=0.05)


def test_modes_and_generators_are_left_alone(data):
    student, teacher = nn.Sequential(nn.Linear(6, 4), nn.Dropout()), linear(2, 20)
    distiller = limbeck.Distiller(student, teacher, limbeck.methods.create("tame+kd", max_confidence=0.6))
    before = torch.get_rng_state()
    distiller.measure_teacher(split(data))
    assert student.training
    assert student[1].training
    assert torch.equal(torch.get_rng_state(), before)
    assert teacher.weight.grad is None


def test_rows_without_a_label_are_tamed_too(data):
    distiller = tamed("tame+revise+kd")
    tau = distiller.measure_teacher(split(data))["tame.temperature"]
    out = distiller(data[0], torch.full((48,), -100))
    torch.testing.assert_close(out.parts["kd"], 0.9 * kd_loss(out.logits, linear(2, 20)(data[0]) / tau))


def test_a_selection_scores_what_is_tamed(data):
    distiller = tamed("tame+select+lr", scorer="influence", ratio=0.5, per_class=False)
    with pytest.raises(UserError, match="not measured"):
        distiller.select(split(data))
    distiller.measure_teacher(split(data))
    assert distiller.select(split(data)).sum() == 24


def bank_of(scale):
    torch.manual_seed(3)
    return scale * torch.eye(4)[:, None] + torch.randn(4, 5, 4)


def test_teachers_of_other_kinds(data):
    class Sure(Teacher):
        needs_labels = True

        def answer(self, batch, epoch=0):
            return 30.0 * F.one_hot(batch.targets, 4)

    teachers = {
        "ensemble": EnsembleTeacher([linear(2, 20), linear(3, 20)]),
        "labels": Sure(),
        "lightweight": LightweightTeacher(LightweightBank(bank_of(30.0), accuracy=1.0)),
    }
    for name, teacher in teachers.items():
        distiller = tamed("tame+lw_kd" if name == "lightweight" else "tame+kd", teacher)
        assert distiller.measure_teacher(split(data))["tame.temperature"] > 3
        _, targets = distiller.teacher_targets(*data)
        assert mean_confidence(targets) == pytest.approx(0.6, abs=1e-4)


def test_a_cached_teacher_stores_what_is_measured(data, tmp_path):
    spec = CacheSpec("views", 48, RowFormat(4, "float32"))
    cached = tamed(teacher=CachedTeacher(linear(2, 20), LogitStore.open(tmp_path, spec)))
    live = tamed()
    assert cached.measure_teacher(split(data)) == live.measure_teacher(split(data))
    assert torch.equal(cached(*data).loss, live(*data).loss)


def field_distiller(method, teacher, **settings):
    method = limbeck.methods.create(method, **settings)
    return limbeck.Distiller(FieldNet(seed=1), teacher, method, task=Fields(CLASSES))


def test_maps_with_two_heads_share_one_temperature():
    teacher = FieldNet(9, seed=2).eval()
    with torch.no_grad():
        teacher.head.weight.mul_(40)
    fields = FieldBatches(shuffle=False)
    distiller = field_distiller("tame+revise+dist", teacher, max_confidence=0.7)
    tau = distiller.measure_teacher(fields.epoch(0))["tame.temperature"]
    rows = [pixels(teacher(**batch.inputs)["out"], batch.targets) for batch in fields.epoch(0)]
    assert tau == pytest.approx(taming_temperature(torch.cat([part.logits for part in rows]), 0.7), rel=1e-5)
    batch = next(iter(fields.epoch(0)))
    out = distiller(*batch)
    assert {"dist", "dist.aux"} <= set(out.parts)
    plain = field_distiller("revise+dist", teacher)
    answer = {name: logits / tau for name, logits in teacher(**batch.inputs).items()}
    teacher_rows = Fields(CLASSES).rows(answer, batch.targets)
    torch.testing.assert_close(plain.match(out.rows, teacher_rows).loss, out.loss)


def test_of_a_large_map_some_positions_are_measured():
    class Maps(nn.Module):
        def forward(self, inputs):
            return {"out": inputs}

    torch.manual_seed(0)
    maps, targets = 9 * torch.randn(6, 3, 60, 60), torch.randint(3, (6, 60, 60))
    student = nn.Sequential(nn.Conv2d(3, 3, 1))
    distiller = limbeck.Distiller(
        student, Maps(), limbeck.methods.create("tame+kd", max_confidence=0.6), task=Fields(CLASSES)
    )
    tau = distiller.measure_teacher([(maps, targets)])["tame.temperature"]
    assert tau == pytest.approx(taming_temperature(pixels(maps, targets).logits), rel=0.1)


def test_teachers_of_labels_on_maps():
    teacher = LightweightTeacher(LightweightBank(bank_of(30.0)[:CLASSES, :, :CLASSES], accuracy=1.0))
    distiller = field_distiller("tame+lw_kd", teacher, max_confidence=0.6)
    batches = list(FieldBatches(shuffle=False).epoch(0))
    assert distiller.measure_teacher(batches)["tame.temperature"] > 3
    assert distiller(*batches[0]).loss.isfinite()


def test_a_compiled_distiller_has_the_same_loss(data):
    distiller = tamed("tame+revise+kd")
    distiller.measure_teacher(split(data))
    eager = distiller(*data)
    compiled = torch.compile(distiller, backend="aot_eager")(*data)
    torch.testing.assert_close(compiled.loss, eager.loss)
