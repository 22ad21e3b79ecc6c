"""``weigh``: the teacher's weight beside labels of weight 1, given or measured, as a whole or by sample."""

import copy
import itertools

import pytest
import torch
from torch.nn import functional as F

import limbeck
from dense_task import CLASSES, SAMPLES, FieldBatches, FieldNet, Fields
from limbeck.errors import UserError
from limbeck.losses import dist_loss, dkd_loss, kd_loss
from limbeck.selection import informed_probabilities, responsibilities, teacher_share
from limbeck.targets import rectify_logits, revise_logits, taming_temperature
from limbeck.teachers import LightweightBank, LightweightTeacher, Teacher
from weighed_rows import PROXIES, N, explained, linear, measured, outside, weighed


@pytest.mark.parametrize(
    ("name", "term", "expected"),
    [
        ("weigh+kd", "kd", lambda s, t, y: kd_loss(s, t)),
        ("weigh+lr", "kd", lambda s, t, y: kd_loss(s, revise_logits(t, y))),
        ("weigh+dr_kd", "kd", lambda s, t, y: kd_loss(s, rectify_logits(t, y))),
        # The full weight of these two is a tenth of their own.
        ("weigh+dist", "dist", lambda s, t, y: 0.1 * dist_loss(s, t, temperature=4.0, beta=2.0, gamma=2.0)),
        ("weigh+dkd", "dkd", lambda s, t, y: 0.1 * dkd_loss(s, t, y)),
        ("weigh+kd+dist", "kd", lambda s, t, y: kd_loss(s, t)),
        ("weigh+logit_mse", "logit_mse", lambda s, t, y: F.mse_loss(s, t)),
        ("weigh+lskd", "kd", None),
        ("weigh+tf_kd_self", "kd", lambda s, t, y: kd_loss(s, t)),
        ("weigh+dts", "kd", None),
    ],
)
def test_a_number_multiplies_the_full_weight_beside_labels_of_weight_1(data, name, term, expected):
    distiller = limbeck.Distiller(linear(1), linear(2, 3), limbeck.methods.create(name, weight=0.25), epochs=4)
    out = distiller(*data, epoch=2)
    torch.testing.assert_close(out.parts["ce"], F.cross_entropy(out.logits, data[1]))
    if expected is not None:
        torch.testing.assert_close(out.parts[term], 0.25 * expected(out.logits, linear(2, 3)(data[0]), data[1]))
    assert distiller.teacher_scale.figures() == {"weigh.weight": 0.25}


def test_weight_0_is_plain_training(data):
    out = weighed(weight=0.0)(*data)
    torch.testing.assert_close(out.loss, F.cross_entropy(out.logits, data[1]))


def test_auto_is_the_square_of_the_share(data, half):
    distiller, figures = measured(data, half)
    share = teacher_share(*explained(data, half))
    assert 0.1 < share < 0.9
    weight = {"weigh.share": pytest.approx(share), "weigh.weight": pytest.approx(share**2)}
    assert figures == {**weight, "weigh.temperature": 1}
    out = distiller(*data)
    torch.testing.assert_close(out.parts["kd"], share**2 * kd_loss(out.logits, linear(2, 3)(data[0]), temperature=1.0))
    out.loss.backward()
    assert distiller.student.weight.grad.isfinite().all()
    assert all(proxy.weight.grad is None for proxy in PROXIES)


def test_scale_is_the_weight_of_a_teacher_that_explains_all(data, half):
    plain, figures = measured(data, half)
    scaled, times = measured(data, half, scale=3.0)
    assert times["weigh.weight"] == pytest.approx(3 * figures["weigh.weight"])
    torch.testing.assert_close(scaled(*data).parts["kd"], 3 * plain(*data).parts["kd"])
    rows, by_row = (measured(data, half, by_row=True, scale=factor)[0] for factor in (1.0, 3.0))
    torch.testing.assert_close(by_row(*data).parts["kd"], 3 * rows(*data).parts["kd"])


def test_taming_does_not_change_the_share(data, half):
    _, figures = measured(data, half, "tame+weigh+kd", max_confidence=0.4)
    _, alone = measured(data, half)
    assert figures["weigh.share"] == pytest.approx(alone["weigh.share"], rel=1e-6)
    assert figures["tame.temperature"] > 1


def test_each_row_is_judged_by_the_proxy_without_it(data, half):
    _, figures = measured(data, half)
    _, swapped = measured(data, ~half)
    assert figures["weigh.share"] != swapped["weigh.share"]


def test_by_row_each_sample_counts_by_its_responsibility(data, half):
    distiller, figures = measured(data, half, by_row=True)
    q, s = explained(data, half)
    weights = figures["weigh.share"] * responsibilities(q, s, teacher_share(q, s))
    assert weights.mean().item() == pytest.approx(figures["weigh.weight"], rel=1e-6)
    chosen = torch.randperm(N)[:40]
    out = distiller(*(part[chosen] for part in data))
    rows = kd_loss_by_row(out.logits, linear(2, 3)(data[0][chosen]).detach(), temperature=1.0)
    expected = (weights[chosen].float() * rows).sum() / 40
    torch.testing.assert_close(out.parts["kd"], expected)


def kd_loss_by_row(student, teacher, temperature):
    pairs = zip(student.split(1), teacher.split(1), strict=True)
    return torch.stack([kd_loss(*pair, temperature=temperature) for pair in pairs])


def test_shuffled_weights_are_the_same_on_other_samples(data, half):
    plain, _ = measured(data, half, by_row=True)
    control, _ = measured(data, half, by_row=True, shuffled=True)
    one, other = plain.teacher_scale.row_weight, control.teacher_scale.row_weight
    assert torch.equal(one.sort().values, other.sort().values)
    assert not torch.equal(one, other)


def test_with_a_selection_both_count(data, half):
    method = {"scorer": "confidence", "ratio": 0.5}
    for settings in ({"weight": 0.5}, {"by_row": True}):
        distiller = weighed("select+weigh+kd", select=method, **settings)
        if "by_row" in settings:
            distiller.measure_teacher([data], proxies=PROXIES, half=half)
        mask = distiller.select([data])
        out = distiller(*data)
        rows = kd_loss_by_row(out.logits, linear(2, 3)(data[0]).detach(), 1.0 if "by_row" in settings else 4.0)
        weights = distiller.teacher_scale.row_weight if "by_row" in settings else torch.full((N,), 0.5)
        torch.testing.assert_close(out.parts["kd"], (mask * weights * rows).sum() / N)


def test_the_state_holds_it(data, half):
    for settings in ({}, {"by_row": True}):
        distiller, figures = measured(data, half, "tame+weigh+kd", **settings)
        fresh = weighed("tame+weigh+kd", **settings)
        fresh.load_state_dict(copy.deepcopy(distiller.state_dict()))
        assert torch.equal(fresh(*data).loss, distiller(*data).loss)
        assert torch.equal(copy.deepcopy(distiller)(*data).loss, distiller(*data).loss)
        assert fresh.teacher_scale.figures().items() <= figures.items()
        distiller.bfloat16()
        assert distiller.teacher_scale.figures() == fresh.teacher_scale.figures()


def test_rows_without_a_label_judge_nothing_and_get_the_mean(data, half):
    partly = data[1].clone()
    partly[::3] = -100
    distiller, figures = measured((data[0], partly, data[2]), half, by_row=True)
    labeled = partly != -100
    share = teacher_share(*explained(tuple(part[labeled] for part in data), half[labeled]))
    assert figures["weigh.share"] == pytest.approx(share)
    torch.testing.assert_close(distiller.teacher_scale.row_weight[::3], torch.full((N // 3,), share**2))


def test_a_teacher_that_depends_on_the_labels_has_its_full_weight(data):
    class Certain(Teacher):
        needs_labels = True

        def answer(self, batch, epoch=0):
            return 9.0 * F.one_hot(batch.targets, 4)

    bank = LightweightTeacher(LightweightBank(torch.randn(4, 5, 4), accuracy=1.0))
    for method, teacher in (("weigh+kd", Certain()), ("weigh+lw_kd", bank), ("weigh+tf_kd_reg", None)):
        for by_row in (False, True):
            method_ = limbeck.methods.create(method, by_row=by_row)
            distiller = limbeck.Distiller(linear(1), teacher, method_, num_classes=4)
            at = {"weigh.temperature": 2.0} if method == "weigh+kd" else {}
            assert distiller.measure_teacher([data]) == {"weigh.share": 1.0, "weigh.weight": 1.0, **at}
            assert distiller(*data).loss.isfinite()


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({}, {}, r"method 'weigh\+kd': measures its teacher beside students without it, pass proxies="),
        ({}, {"proxies": PROXIES}, "pass proxies=, .* and half="),
        ({"weight": 2.0}, {}, "has nothing to measure on a teacher, expected tame or weigh in it"),
        ({}, {"proxies": PROXIES, "half": torch.ones(5).bool()}, "half: got 5 samples, and a position of 119"),
    ],
)
def test_what_is_missing_is_named(data, settings, arguments, message):
    with pytest.raises(UserError, match=message) as error:
        weighed(**settings).measure_teacher([data], **arguments)
    assert "\n" not in str(error.value)


def test_training_without_measuring_or_positions_is_one_clear_line(data, half):
    with pytest.raises(UserError, match=r"the teacher's weight is not measured, call distiller.measure_teacher"):
        weighed()(*data)
    for batch, message in (
        (data[:2], "no positions in the training set"),
        ((data[0], data[1] * 0 - 100, data[2]), "no labels"),
    ):
        with pytest.raises(UserError, match=f"batches: got {message}"):
            weighed().measure_teacher([batch], proxies=PROXIES, half=half)
    distiller, _ = measured(data, half, by_row=True)
    with pytest.raises(UserError, match="indices: got None, expected each sample's position, for the weights of weigh"):
        distiller(*data[:2])
    for wrong in ({"weight": -1.0}, {"weight": "some"}, {"weight": True}):
        with pytest.raises(UserError, match="weight: got .*, expected 'auto' or a number of at least 0"):
            limbeck.methods.create("weigh+kd", **wrong)
    with pytest.raises(UserError, match="has no loss against the teacher"):
        limbeck.methods.create("weigh+revise")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("weigh+kd", {"alpha": 0.5}, "kd.alpha: got 0.5 with weigh, expected weigh.weight alone"),
        ("weigh+dr_kd", {"dr_kd": {"alpha": 0.6}}, "dr_kd.alpha: got 0.6 with weigh"),
        ("tame+weigh+dist", {"ce_weight": 0.5}, "dist.ce_weight: got 0.5 with weigh"),
    ],
)
def test_weights_that_it_sets_aside_are_refused(name, settings, message):
    with pytest.raises(UserError, match=message):
        limbeck.methods.create(name, **settings)
    # A recipe that holds the defaults is the same, and weights within a teacher's loss stay.
    assert limbeck.methods.create("weigh+kd", alpha=0.9).terms[0].weight == 1
    assert limbeck.methods.create("weigh+lr", kd_weight=0.5).terms[0].weight == 0.5
    assert limbeck.methods.create("weigh+dkd", alpha=2.0, beta=4.0).terms[0].weight == 0.1


def test_maps_have_weights_by_sample():
    def distiller_of(**settings):
        method = limbeck.methods.create("tame+weigh+dist", **settings)
        return limbeck.Distiller(FieldNet(seed=1), FieldNet(9, seed=2), method, task=Fields(CLASSES))

    fields, proxies = FieldBatches(shuffle=False), (FieldNet(seed=3), FieldNet(seed=4))
    half = torch.arange(SAMPLES) < SAMPLES // 2
    batch = next(iter(fields.epoch(0)))
    for settings in ({}, {"by_row": True}):
        distiller = distiller_of(**settings)
        figures = distiller.measure_teacher(fields.epoch(0), proxies=proxies, half=half)
        assert 0 <= figures["weigh.share"] <= 1
        out = distiller(*batch)
        assert {"dist", "dist.aux"} <= set(out.parts)
        assert out.loss.isfinite()
    assert distiller.teacher_scale.row_weight.shape == (SAMPLES,)
    assert distiller.teacher_scale.row_weight.mean().item() == pytest.approx(figures["weigh.weight"], abs=0.05)


def test_totals_divide_as_ever(data, half):
    distiller, _ = measured(data, half, by_row=True)
    student, teacher = linear(1)(data[0]).detach(), linear(2, 3)(data[0]).detach()
    whole = distiller.match(student, teacher, data[1], indices=data[2], total=N)
    parts = [
        distiller.match(student[rows], teacher[rows], data[1][rows], indices=rows, total=N)
        for rows in itertools.chain(torch.arange(N).split(50))
    ]
    torch.testing.assert_close(torch.stack([part.loss for part in parts]).sum(), whole.loss)


@pytest.mark.parametrize("by_row", [False, True])
def test_a_compiled_distiller_has_the_same_loss(data, half, by_row):
    distiller, _ = measured(data, half, "tame+weigh+kd", by_row=by_row)
    eager = distiller(*data)
    torch.testing.assert_close(torch.compile(distiller, backend="aot_eager")(*data).loss, eager.loss)


def test_a_teacher_is_tamed_halfway_from_the_proxies_to_itself(data, half):
    teacher = linear(2, 30)
    by_proxies, by_teacher = (
        (logits.argmax(1) == data[1]).double().mean().item() for logits in (outside(data, half), teacher(data[0]))
    )
    assert by_teacher > by_proxies
    accuracy = (by_proxies + by_teacher) / 2
    for name in ("tame+kd", "tame+weigh+kd"):
        distiller = weighed(name, teacher, max_confidence="auto")
        figures = distiller.measure_teacher([data], proxies=PROXIES, half=half)
        assert figures["tame.max_confidence"] == pytest.approx(accuracy)
        assert figures["tame.temperature"] == pytest.approx(taming_temperature(teacher(data[0]), accuracy), rel=1e-5)
        assert ("weigh.share" in figures) is ("weigh" in name)
    with pytest.raises(UserError, match=r"method 'tame\+kd': measures its teacher beside students without it, pass"):
        weighed("tame+kd", max_confidence="auto").measure_teacher([data])


def test_proxies_at_chance_leave_a_teacher_above_it(data, half):
    labels = (outside(data, half).argmax(1) + 1) % 4
    figures = weighed("tame+kd", max_confidence="auto").measure_teacher(
        [(data[0], labels, data[2])], proxies=PROXIES, half=half
    )
    assert figures["tame.max_confidence"] == pytest.approx(0.25 + 0.05 * 0.75)


def test_teachers_of_labels_are_tamed_by_proxies_too(data, half):
    bank = LightweightTeacher(LightweightBank(30 * torch.eye(4)[:, None] + torch.randn(4, 5, 4), accuracy=1.0))
    method = limbeck.methods.create("tame+weigh+lw_kd", max_confidence="auto")
    figures = limbeck.Distiller(linear(1), bank, method).measure_teacher([data], proxies=PROXIES, half=half)
    assert figures["tame.temperature"] > 1
    assert figures["weigh.share"] == 1


@pytest.mark.parametrize("name", ["weigh+lr", "weigh+revise+dkd", "weigh+dr_kd", "weigh+kd+rectify"])
def test_of_a_corrected_teacher_the_information_is_measured(data, half, name):
    labels = linear(2)(data[0]).argmax(1)
    exchanged = linear(2, 9)
    with torch.no_grad():
        exchanged.weight.copy_(exchanged.weight.roll(1, dims=0))
        exchanged.bias.copy_(exchanged.bias.roll(1, dims=0))
    figures, proxies = {}, (linear(2, 0.1), linear(2, 0.1))
    for method in ("weigh+kd", name):
        distiller = weighed(method, teacher=exchanged)
        figures[method] = distiller.measure_teacher([(data[0], labels, data[2])], proxies=proxies, half=half)
    assert figures[name]["weigh.share"] == pytest.approx(
        teacher_share(*(informed_probabilities(z, labels, half) for z in (exchanged(data[0]), proxies[0](data[0]))))
    )
    assert figures[name]["weigh.share"] > figures["weigh+kd"]["weigh.share"] + 0.3
