"""The dense task through ``Distiller``: every number against the same loss on rows cut out by hand."""

import copy

import pytest
import torch
from torch.nn import functional as F

import limbeck
from dense_task import CLASSES, IGNORED, FieldBatches, FieldNet, Fields
from limbeck.data import Batch
from limbeck.errors import UserError
from limbeck.losses import dist_loss, kd_loss
from limbeck.rows import Rows, pixels, tokens
from limbeck.selection import confidence_scores
from limbeck.targets import rectify_logits, revise_logits
from limbeck.teachers import LightweightBank, LightweightTeacher


@pytest.fixture
def batch():
    return next(iter(FieldBatches().epoch(0)))


def cut(maps, targets):
    """Rows of the supervised positions, position by position."""
    places = [(n, y, x) for n in range(len(targets)) for y in range(targets.shape[1]) for x in range(targets.shape[2])]
    kept = [place for place in places if targets[place] != IGNORED]
    logits = torch.stack([maps[n, :, y, x] for n, y, x in kept])
    return logits, torch.stack([targets[place] for place in kept]), torch.tensor([n for n, _, _ in kept])


def test_pixels_are_rows_cut_by_hand(batch):
    maps = FieldNet()(**batch.inputs)["out"]
    logits, labels, sample = cut(maps, batch.targets)
    rows = pixels(maps, batch.targets, ignore_index=IGNORED)
    assert torch.equal(rows.logits, logits)
    assert torch.equal(rows.labels, labels)
    assert torch.equal(rows.sample, sample)
    assert len(logits) < batch.targets.numel()


def test_masks_of_another_size_are_read_at_the_nearest_position():
    masks = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 255, 255], [2, 2, 255, 255]]])
    assert pixels(torch.zeros(1, 3, 2, 2), masks).labels.tolist() == [0, 1, 2]


def test_tokens_are_shifted_and_the_prompt_is_left_out():
    logits = torch.randn(2, 4, 7)
    labels = torch.tensor([[-100, -100, 3, 1], [-100, 5, -100, -100]])
    rows = tokens(logits, labels)
    assert torch.equal(rows.logits, torch.stack([logits[0, 1], logits[0, 2], logits[1, 0]]))
    assert rows.labels.tolist() == [3, 1, 5]
    assert rows.sample.tolist() == [0, 0, 1]
    assert tokens(logits, labels, shift=False).labels.tolist() == [3, 1, 5]


@pytest.mark.parametrize("output", [torch.zeros(2, 3), torch.zeros(2, 3, 4, dtype=torch.long)])
def test_what_is_no_map_is_refused(output):
    with pytest.raises(UserError, match="expected float maps of logits"):
        pixels(output)


EXPECTED = {
    "kd": (0.1, lambda s, t, y: 0.9 * kd_loss(s, t)),
    "dist": (1.0, lambda s, t, y: dist_loss(s, t, temperature=4.0, beta=2.0, gamma=2.0)),
    "dr_kd": (0.5, lambda s, t, y: 0.5 * kd_loss(s, rectify_logits(t, y))),
}


@pytest.mark.parametrize("method", EXPECTED)
def test_losses_are_those_of_rows_cut_by_hand(method, batch):
    student, teacher = FieldNet(seed=1), FieldNet(9, seed=2)
    distiller = limbeck.Distiller(student, teacher, method, task=Fields(CLASSES))
    out = distiller(*batch)
    with torch.no_grad():
        # Batch norm's running statistics do not enter the student's outputs in train mode.
        student_maps, teacher_maps = copy.deepcopy(student)(**batch.inputs), teacher(**batch.inputs)
    ce_weight, loss = EXPECTED[method]
    (term,) = distiller.method.terms
    for head, weight, ending in (("out", 1.0, ""), ("aux", 0.4, ".aux")):
        s, y, _ = cut(student_maps[head], batch.targets)
        t, _, _ = cut(teacher_maps[head], batch.targets)
        expected = {f"ce{ending}": ce_weight * F.cross_entropy(s, y), f"{term.name}{ending}": loss(s, t, y)}
        for name, value in expected.items():
            torch.testing.assert_close(out.parts[name].detach(), weight * value, rtol=1e-5, atol=1e-6)
    assert len(out.parts) == 4
    torch.testing.assert_close(out.loss, torch.stack(list(out.parts.values())).sum())
    out.loss.backward()
    assert all(p.grad is not None for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())


def test_a_head_that_the_teacher_lacks_has_the_ground_truth_alone(batch):
    distiller = limbeck.Distiller(FieldNet(), FieldNet(aux=False, seed=1), "kd", task=Fields(CLASSES))
    assert set(distiller(*batch).parts) == {"ce", "ce.aux", "kd"}


def test_a_teacher_without_the_main_head_is_refused(batch):
    class Sideways(FieldNet):
        def forward(self, **inputs):
            return {"aux": super().forward(**inputs)["aux"]}

    class Lenient(Fields):
        def rows(self, output, targets):
            if "out" in output:
                return super().rows(output, targets)
            return {"aux": pixels(output["aux"], targets, ignore_index=IGNORED)}

    distiller = limbeck.Distiller(FieldNet(), Sideways(seed=1), "kd", task=Lenient(CLASSES))
    with pytest.raises(UserError, match="has the heads aux, expected 'main' among them"):
        distiller(*batch)


@pytest.mark.parametrize("scorer", ["agreement", "confidence", "random", "el2n"])
def test_a_position_is_selected_if_its_sample_is(scorer, batch):
    method = limbeck.methods.create("lr_ds", scorer=scorer, ratio=0.5)
    student, teacher = FieldNet(seed=1), FieldNet(9, seed=2)
    distiller = limbeck.Distiller(student, teacher, method, task=Fields(CLASSES))
    batches = list(FieldBatches(shuffle=False).epoch(0))
    selected = distiller.select(batches)
    assert selected.sum() == len(selected) // 2
    if scorer == "confidence":
        scores = []
        for each in batches:
            rows, _, sample = cut(teacher(**each.inputs)["out"], each.targets)
            found = confidence_scores(rows)
            scores += [float(found[sample == n].mean()) for n in range(len(each.indices))]
        assert torch.equal(selected, torch.tensor(scores) >= sorted(scores)[len(scores) // 2])
    out = distiller(*batch)
    with torch.no_grad():
        s, y, sample = cut(copy.deepcopy(student)(**batch.inputs)["out"], batch.targets)
        t = cut(teacher(**batch.inputs)["out"], batch.targets)[0]
    mask = selected[batch.indices][sample]
    value = kd_loss(s[mask], revise_logits(t, y)[mask]) * mask.sum() / len(mask)
    name = next(name for name in out.parts if name not in ("ce", "ce.aux") and not name.endswith(".aux"))
    torch.testing.assert_close(out.parts[name].detach(), value, rtol=1e-5, atol=1e-6)


def test_a_scorer_of_whole_rows_is_refused_in_one_line():
    distiller = limbeck.Distiller(
        FieldNet(), FieldNet(seed=1), limbeck.methods.create("lr_ds", scorer="influence"), task=Fields(CLASSES)
    )
    with pytest.raises(UserError, match="'influence': needs samples of one row each, expected random, agreement"):
        distiller.select(FieldBatches().epoch(0))


def test_a_selection_within_the_batch(batch):
    method = limbeck.methods.create("select+kd", scorer="confidence", ratio=0.5, per_class=False)
    distiller = limbeck.Distiller(FieldNet(seed=1), FieldNet(seed=2), method, task=Fields(CLASSES))
    assert distiller(*batch).loss.isfinite()


def test_a_lightweight_teacher_works_on_positions(batch):
    bank = LightweightBank(3 * torch.eye(CLASSES)[:, None] + torch.randn(CLASSES, 4, CLASSES), accuracy=0.99)
    teacher = LightweightTeacher(bank)
    distiller = limbeck.Distiller(FieldNet(), teacher, "lw_kd", task=Fields(CLASSES))
    out = distiller(*batch, epoch=1)
    assert {"ce", "ce.aux"} < set(out.parts)
    s, y, sample = cut(copy.deepcopy(distiller.student)(**batch.inputs)["out"], batch.targets)
    t = teacher(None, y, batch.indices[sample], 1)
    settings = distiller.method.settings["lw_kd"]
    name = next(name for name in out.parts if name in ("kd", "lw_kd"))
    expected = settings["alpha"] * kd_loss(s, t, temperature=settings["temperature"])
    torch.testing.assert_close(out.parts[name], expected, rtol=1e-5, atol=1e-6)
    out.loss.backward()


def test_a_batch_without_supervised_positions_is_a_zero_in_the_graph():
    batch = next(iter(FieldBatches().epoch(0)))
    empty = Batch(batch.inputs, torch.full_like(batch.targets, IGNORED), batch.indices)
    for method in ("kd", "dist", "lr", "dr_kd"):
        distiller = limbeck.Distiller(FieldNet(seed=1), FieldNet(seed=2), method, task=Fields(CLASSES))
        out = distiller(*empty)
        assert out.loss == 0
        out.loss.backward()
        assert all(not p.grad.any() for p in distiller.student.parameters())


def test_match_is_forward_on_rows_that_were_made_before(batch):
    student, teacher = FieldNet(seed=1), FieldNet(9, seed=2)
    task = Fields(CLASSES)
    distiller = limbeck.Distiller(student, teacher, "lr+dist", task=task)
    expected = distiller(*batch)
    rows, teacher_rows = (task.rows(net(**batch.inputs), batch.targets) for net in (student, teacher.eval()))
    out = distiller.match(rows, teacher_rows)
    assert out.parts.keys() == expected.parts.keys()
    assert all(torch.equal(out.parts[name], expected.parts[name]) for name in out.parts)


@pytest.mark.parametrize("method", ["kd", "lr+kd", "select+kd", "dkd"])
def test_with_a_total_the_loss_does_not_depend_on_how_a_batch_is_split(method):
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(40, 5), torch.randn(40, 5), torch.randint(5, (40,))
    labels[::7] = -100
    weight = torch.rand(40)
    made = limbeck.methods.create(method, **({"scorer": "agreement", "ratio": 1.0} if "select" in method else {}))
    distiller = limbeck.Distiller(torch.nn.Linear(2, 5), torch.nn.Linear(2, 5), made)
    for given in (None, weight):
        whole = distiller.match(student, teacher, labels, weight=given, total=17.0, epoch=30)
        split = []
        for part in (slice(0, 9), slice(9, 30), slice(30, 40)):
            given_part = None if given is None else given[part]
            pieces = student[part], teacher[part], labels[part]
            split.append(distiller.match(*pieces, weight=given_part, total=17.0, epoch=30).loss)
        torch.testing.assert_close(torch.stack(split).sum(), whole.loss)


def test_without_a_total_the_weights_are_those_of_a_mean():
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(6, 5), torch.randn(6, 5), torch.randint(5, (6,))
    distiller = limbeck.Distiller(torch.nn.Linear(2, 5), torch.nn.Linear(2, 5), "kd")
    doubled = torch.tensor([2.0, 1, 1, 1, 1, 0])
    out = distiller.match(student, teacher, labels, weight=doubled)
    places = torch.tensor([0, 0, 1, 2, 3, 4])
    expected = distiller.match(student[places], teacher[places], labels[places])
    torch.testing.assert_close(out.loss, expected.loss)
    total = distiller.match(student, teacher, labels, total=6)
    torch.testing.assert_close(total.loss, distiller.match(student, teacher, labels).loss)


def test_match_with_rows_and_bad_rows():
    distiller = limbeck.Distiller(torch.nn.Linear(2, 5), torch.nn.Linear(2, 5), "kd")
    rows = Rows(torch.zeros(3, 5), torch.tensor([0, 1, 2]))
    assert distiller.match(rows, torch.zeros(3, 5)).parts["kd"] == 0
    with pytest.raises(UserError, match="teacher_rows: got None"):
        distiller.match(rows)
    with pytest.raises(UserError, match=r"weight: got \(2,\), expected one a row, \(3,\)"):
        distiller.match(rows, torch.zeros(3, 5), weight=torch.ones(2))
    with pytest.raises(UserError, match="expected 'main' among them"):
        distiller.match({"out": rows}, {"out": rows})
