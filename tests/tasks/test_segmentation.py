"""The packaged task of segmentation: rows and losses against loops by hand, figures against torchmetrics."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

import limbeck
from limbeck.errors import UserError
from limbeck.losses import dist_loss, kd_loss
from limbeck.rows import Rows
from limbeck.tasks import Segmentation, create
from limbeck.tasks.positions import spread_positions
from limbeck.tasks.segmentation import maps_by_head

CLASSES, IGNORED = 4, 255


class Net(nn.Module):
    """Maps at a half or a quarter of the image's size, with an auxiliary head if wanted."""

    def __init__(self, stride=2, aux=False, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Conv2d(3, 8, stride, stride)
            self.head, self.aux = nn.Conv2d(8, CLASSES, 1), nn.Conv2d(8, CLASSES, 1) if aux else None

    def forward(self, images):
        features = self.body(images).relu()
        maps = self.head(features)
        return maps if self.aux is None else {"out": maps, "aux": self.aux(features)}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(CLASSES, (3, 8, 12), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < 0.3] = IGNORED
    return torch.randn(3, 3, 8, 12, generator=generator), masks, torch.tensor([5, 0, 9])


def cut(maps, masks):
    """The supervised positions of maps, one by one, each read at the middle of what it covers."""
    step = masks.shape[1] // maps.shape[2]
    logits, labels = [], []
    for n in range(len(maps)):
        for y in range(maps.shape[2]):
            for x in range(maps.shape[3]):
                label = int(masks[n, y * step + step // 2, x * step + step // 2])
                if label != IGNORED:
                    logits.append(maps[n, :, y, x])
                    labels.append(label)
    return torch.stack(logits), torch.tensor(labels)


@pytest.mark.parametrize("form", ["tensor", "out", "logits", "object", "list"])
def test_rows_are_the_supervised_positions_of_any_output(form, batch):
    maps = Net()(batch[0])
    second = Net(seed=1)(batch[0])
    output = {
        "tensor": maps,
        "out": {"out": maps, "aux": second},
        "logits": {"logits": maps, "hidden_states": (second,)},
        "object": SimpleNamespace(logits=maps),
        "list": [maps, second],
    }[form]
    rows = Segmentation().rows(output, batch[1])
    logits, labels = cut(maps, batch[1])
    assert torch.equal(rows["main"].logits, logits)
    assert torch.equal(rows["main"].labels, labels)
    assert set(rows) == ({"main", "aux"} if form in ("out", "list") else {"main"})


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("method", ["kd", "dist"])
def test_losses_are_those_of_positions_cut_by_hand(method, stride, batch):
    student, teacher = Net(aux=True), Net(stride, aux=True, seed=1)
    distiller = limbeck.Distiller(student, teacher, method, task=Segmentation(CLASSES, aux_weight=0.3))
    out = distiller(*batch)
    loss, ce = {
        "kd": (lambda s, t: 0.9 * kd_loss(s, t), 0.1),
        "dist": (lambda s, t: dist_loss(s, t, temperature=4.0, beta=2.0, gamma=2.0), 1.0),
    }[method]
    with torch.no_grad():
        student_maps, teacher_maps = student(batch[0]), teacher(batch[0])
    for head, weight, ending in (("out", 1.0, ""), ("aux", 0.3, ".aux")):
        s, y = cut(student_maps[head], batch[1])
        enlarged = F.interpolate(teacher_maps[head], (4, 6), mode="bilinear")
        t, _ = cut(enlarged if stride == 4 else teacher_maps[head], batch[1])
        torch.testing.assert_close(out.parts[f"ce{ending}"].detach(), weight * ce * F.cross_entropy(s, y))
        torch.testing.assert_close(out.parts[f"{method}{ending}"].detach(), weight * loss(s, t))
    out.loss.backward()
    assert all(p.grad is not None for p in student.parameters())


def test_a_batch_without_a_supervised_position_is_no_error(batch):
    distiller = limbeck.Distiller(Net(), Net(seed=1), "dist", task=Segmentation(CLASSES, positions=4))
    out = distiller(batch[0], torch.full_like(batch[1], IGNORED), batch[2])
    out.loss.backward()
    assert out.loss == 0
    assert distiller.task.figures(out.rows)["pixel_accuracy"] == 0


def test_the_teacher_is_compared_at_the_drawn_positions_and_the_truth_at_all(batch):
    student, teacher = Net(), Net(seed=1)
    task = Segmentation(CLASSES, positions=5, seed=3)
    distiller = limbeck.Distiller(student, teacher, "kd", task=task)
    out = distiller(*batch, epoch=2)
    with torch.no_grad():
        rows, teacher_rows = (task.rows(net(batch[0]), batch[1])["main"] for net in (student, teacher))
    picked = spread_positions(rows.sample, 5, batch[2], seed=3, epoch=2)
    assert rows.sample[picked].bincount().tolist() == [5, 5, 5]
    expected = 0.9 * kd_loss(rows.logits[picked], teacher_rows.logits[picked])
    torch.testing.assert_close(out.parts["kd"].detach(), expected)
    torch.testing.assert_close(out.parts["ce"].detach(), 0.1 * F.cross_entropy(rows.logits, rows.labels))
    assert out.parts["kd"] != distiller(*batch, epoch=3).parts["kd"]


def test_drawn_positions_depend_on_the_sample_and_the_epoch_alone():
    sample = torch.tensor([0] * 100 + [1] * 3 + [2] * 100)
    picked = spread_positions(sample, 10, torch.tensor([4, 7, 1]), seed=0, epoch=0)
    alone = spread_positions(torch.zeros(100, dtype=torch.int64), 10, torch.tensor([1]), seed=0, epoch=0)
    assert torch.equal(picked[-10:] - 103, alone)
    assert picked[10:13].tolist() == [100, 101, 102]
    assert torch.equal(picked, picked.unique())
    counts = torch.zeros(100)
    for epoch in range(500):
        counts[spread_positions(sample[:100], 10, None, seed=0, epoch=epoch)] += 1
    assert 20 < counts.min() <= counts.max() < 90


def test_positions_with_an_ignored_sample():
    sample = torch.tensor([1] * 6)
    assert spread_positions(sample, 2, torch.tensor([3, 8]), seed=0, epoch=0).shape == (2,)


def test_figures_at_full_size_are_those_of_torchmetrics(batch):
    images, masks, _ = batch
    masks[masks == 3] = 2
    task = Segmentation(CLASSES)
    evaluator = task.evaluator()
    maps = Net(4)(images).detach()
    evaluator.update({"out": maps[:2]}, masks[:2])
    evaluator.update(maps[2:], masks[2:])
    measured = evaluator.compute()
    full = F.interpolate(maps, masks.shape[1:], mode="bilinear")
    common = {"num_classes": CLASSES, "ignore_index": IGNORED}
    each = MulticlassJaccardIndex(average="none", **common)(full, masks)
    assert measured.miou == pytest.approx(float(MulticlassJaccardIndex(average="macro", **common)(full, masks)))
    expected = MulticlassAccuracy(average="micro", **common)(full, masks)
    assert measured.pixel_accuracy == pytest.approx(float(expected))
    assert measured.loss == pytest.approx(float(F.cross_entropy(full, masks, ignore_index=IGNORED)), rel=1e-5)
    for number in range(CLASSES):
        if f"iou.{number}" in measured.values:
            assert measured.values[f"iou.{number}"] == pytest.approx(float(each[number]))
    assert torch.equal(measured.predictions, full.argmax(1).to(torch.uint8))


def test_a_class_that_is_nowhere_has_no_iou_and_does_not_lower_the_mean():
    evaluator = Segmentation(3).evaluator()
    evaluator.update(torch.tensor([[[[9.0, 0.0]], [[0.0, 9.0]], [[0.0, 0.0]]]]), torch.tensor([[[0, 1]]]))
    values = evaluator.compute().values
    assert values["miou"] == 1
    assert "iou.2" not in values


def test_half_precision_maps_are_measured_in_float32(batch):
    task, maps = Segmentation(CLASSES), Net()(batch[0]).detach()
    evaluator = task.evaluator()
    evaluator.update(maps.bfloat16(), batch[1])
    full = F.interpolate(maps.bfloat16().float(), (8, 12), mode="bilinear")
    expected = float(F.cross_entropy(full, batch[1], ignore_index=255))
    assert evaluator.compute().loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (torch.zeros(2, 4), r"student x: its output is \(2, 4\), expected maps of logits of shape \(N, 4, H, W\)"),
        (torch.zeros(2, 3, 5, 5), "student x: gives 3 classes, expected the 4 of roads"),
        ({"aux": torch.zeros(2, 4, 5, 5)}, "student x: output: got a mapping with aux, expected a tensor of logits"),
    ],
)
def test_an_output_that_does_not_fit_is_named(output, line):
    with pytest.raises(UserError, match=line):
        Segmentation(CLASSES).check(output, CLASSES, "student x", "roads")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"positions": 0}, "task.positions: got 0"),
        ({"aux_weight": -1.0}, "task.aux_weight: got -1.0"),
        ({"positions": "many"}, "task.positions: got 'many', input should be a valid integer"),
        ({"ignore_index": 1.5}, "task.ignore_index: got 1.5, input should be a valid integer"),
        ({"seed": True}, "task.seed: got True, input should be a number"),
        ({"ignore": 3}, "task segmentation: unknown option 'ignore'; did you mean 'ignore_index'"),
    ],
)
def test_settings_out_of_range_are_refused(options, line):
    with pytest.raises(UserError, match=line):
        create("segmentation", 3, **options)


@pytest.mark.parametrize(
    ("task", "targets", "line"),
    [
        ("segmentation", torch.zeros(2), "whose samples have no masks"),
        ("segmentation", torch.full((2, 4, 4), 7), "task.ignore_index: got 255, but masks of roads have 7"),
        ("classification", torch.zeros(2, 4, 4), "a class at each position, expected task 'segmentation'"),
        ("multilabel", torch.zeros(2, 4, 4), "one class at each position, expected data of several"),
    ],
)
def test_ground_truth_of_another_task_is_refused(task, targets, line):
    with pytest.raises(UserError, match=line):
        create(task, CLASSES).check_targets(targets, "roads")


def test_masks_with_ignored_positions_are_taken():
    create("segmentation", 3, ignore_index=11).check_targets(torch.tensor([[[0, 2, 11]]]), "roads")


def test_a_task_can_be_copied_and_maps_have_names():
    task = copy.deepcopy(create("segmentation", 3, ignore_index=11, positions=7))
    assert (task.num_classes, task.ignore_index, task.positions) == (3, 11, 7)
    assert list(maps_by_head([torch.zeros(1, 2, 3, 3)] * 3)) == ["main", "aux", "aux2"]


def test_rows_given_with_a_total_are_all_compared():
    distiller = limbeck.Distiller(Net(), Net(seed=1), "kd", task=Segmentation(CLASSES, positions=2))
    rows = Rows(torch.randn(8, CLASSES), torch.zeros(8, dtype=torch.int64), None, torch.zeros(8, dtype=torch.int64))
    teacher = torch.randn(8, CLASSES)
    whole = distiller.match(rows, teacher, total=8.0).parts["kd"]
    torch.testing.assert_close(whole, 0.9 * kd_loss(rows.logits, teacher))


@pytest.mark.parametrize("method", ["lr_ds", "weigh+kd", "tame+kd"])
def test_a_teacher_with_maps_of_another_size_is_measured_beside_proxies(method, batch):
    distiller = limbeck.Distiller(Net(), Net(4, seed=1), method, task=Segmentation(CLASSES))
    images, masks, _ = batch
    data = [(images, masks, torch.arange(3))]
    half = torch.tensor([True, False, True])
    figures = distiller.measure_teacher(data, proxies=(Net(seed=2), Net(seed=3)), half=half)
    assert figures
    assert distiller(*data[0]).loss.isfinite()


def test_a_selection_needs_maps_of_one_size(batch):
    method = limbeck.methods.create("lr_ds", scorer="agreement", ratio=0.5)
    distiller = limbeck.Distiller(Net(), Net(4, seed=1), method, task=Segmentation(CLASSES))
    with pytest.raises(UserError, match="selection by 'agreement': got .* rows of the student and .* of the teacher"):
        distiller.select([(batch[0], batch[1], torch.arange(3))])
