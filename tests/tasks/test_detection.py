"""Detection: rows, losses and gradients of a distiller over torchvision's detectors, and what it refuses."""

import copy

import pytest
import torch
from torch import nn

from limbeck import Distiller, methods, models
from limbeck.data.batch import Batch, are_rows
from limbeck.distiller.selection import batch_weight
from limbeck.errors import UserError
from limbeck.models.detectors.one_stage import anchor_logits, train_anchors
from limbeck.models.detectors.two_stage import region_logits, train_regions
from limbeck.rows import ground_truth
from limbeck.tasks import Classification, Detection, create
from limbeck.teachers import EnsembleTeacher, LightweightTeacher, LiveTeacher
from limbeck.teachers.lightweight import LightweightBank

METHODS = ("none", "kd", "dist", "lr+dist", "dkd", "dist+mimic", "lw_kd", "dr_kd", "tf_kd_reg", "revise+kd")
EXAMPLE = {"images": [torch.zeros(3, 64, 64)] * 2}


def network(stages=2, width=8, seed=0, **options):
    torch.manual_seed(seed)
    return models.create("small_detector", num_classes=3, stages=stages, width=width, **options)


def batch(count=2):
    torch.manual_seed(1)
    boxes = torch.tensor([[4.0, 6.0, 30.0, 40.0], [20.0, 22.0, 60.0, 50.0]])
    targets = [{"boxes": boxes + n, "labels": torch.tensor([1, 3])} for n in range(count)]
    targets[-1] = {"boxes": boxes[:0], "labels": torch.zeros(0, dtype=torch.int64)}
    return {"images": [torch.rand(3, 64, 64 + 8 * n) for n in range(count)]}, targets


def distiller(method, stages=2, **options):
    torch.manual_seed(3)
    teacher = (
        None if method in ("none", "lw_kd", "tf_kd_reg") else network(stages, 8 if method == "dr_kd" else 12, seed=7)
    )
    if method == "lw_kd":
        teacher = _lightweight(2 if stages == 1 else 4)
    task = Detection(3, stages=stages, **options)
    return Distiller(network(stages), teacher, method, task=task, example=EXAMPLE, epochs=2)


def _lightweight(classes):
    return LightweightTeacher(LightweightBank(torch.randn(classes, 6, classes), accuracy=1.0))


def test_rows_of_the_distiller_are_those_of_the_detectors():
    made = distiller("dist")
    inputs, targets = batch()
    torch.manual_seed(9)
    out = made(inputs, targets)
    student = copy.deepcopy(made.student)
    torch.manual_seed(9)
    expected = train_regions(student.train(), inputs["images"], targets)
    taught = region_logits(made.teacher.network, inputs["images"], expected.places).heads["main"].logits
    rows = expected.heads["main"]
    torch.testing.assert_close(out.rows["main"].logits, rows.logits)
    for name, loss in expected.losses.items():
        torch.testing.assert_close(out.parts["ce" if name == "main" else name], loss)
    direct = methods.create("dist").terms[0]
    loss = direct.build(0)(rows.logits, taught, rows.labels, None)
    torch.testing.assert_close(out.parts["dist"], direct.weight * loss)
    torch.testing.assert_close(out.loss, sum(out.parts.values()))


def test_rows_of_anchors_are_compared_level_by_level():
    made = distiller("kd", stages=1)
    inputs, targets = batch()
    out = made(inputs, targets)
    expected = train_anchors(made.student, inputs["images"], targets)
    taught = anchor_logits(made.teacher.network, inputs["images"])
    term = methods.create("kd").terms[0]
    for place, (head, rows) in enumerate(expected.heads.items()):
        loss = term.build(2)(rows.logits, taught.heads[head].logits, rows.labels.clamp_min(0), None)
        torch.testing.assert_close(out.parts["kd" if not place else f"kd.level{place}"], term.weight * loss)
    # The weight of the labels beside the teacher is that of the classes, not of the boxes.
    torch.testing.assert_close(out.parts["bbox_regression"], expected.losses["bbox_regression"])
    torch.testing.assert_close(out.parts["ce"], methods.create("kd").ce_weight * expected.losses["main"])


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_methods_train_a_student_and_leave_the_teacher(method, stages):
    made = distiller(method, stages)
    inputs, targets = batch()
    before = {} if made.teacher is None else {k: v.clone() for k, v in made.teacher.state_dict().items()}
    out = made(inputs, targets, torch.tensor([4, 9]), 0)
    out.loss.backward()
    assert out.loss.isfinite()
    gradients = [p.grad for p in made.student.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    if made.teacher is not None:
        assert all(p.grad is None for p in made.teacher.parameters())
        for name, value in made.teacher.state_dict().items():
            assert torch.equal(value, before[name])


@pytest.mark.parametrize("stages", [1, 2])
def test_mimic_matches_the_levels_of_the_pyramid(stages):
    made = distiller("dist+mimic", stages)
    names = ("backbone.fpn.layer_blocks.0", "backbone.fpn.layer_blocks.1", "backbone.fpn.layer_blocks.2")
    assert made.feature_pairs.student.layers == made.feature_pairs.teacher.layers == names
    inputs, targets = batch()
    torch.manual_seed(9)
    out = made(inputs, targets)
    torch.manual_seed(9)
    plain = distiller("dist", stages)(inputs, targets)
    regressors = next(loss.regressors for loss in made.losses if hasattr(loss, "regressors"))
    student, teacher = copy.deepcopy(made.student).train(), made.teacher.network
    value = 0.0
    images, _ = student.transform(inputs["images"])
    own, other = student.backbone(images.tensors), teacher.backbone(images.tensors)
    for level, regressor in zip("012", regressors, strict=True):
        value = value + (regressor(own[level]) - other[level]).square().mean()
    torch.testing.assert_close(out.parts["mimic"], value)
    out.loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.extra_parameters())
    if stages == 1:
        # No draw is part of it.
        torch.testing.assert_close(out.parts["dist"], plain.parts["dist"])


def test_anchors_without_a_label_are_selected_with_their_image():
    made = distiller(methods.create("select+kd", scorer="random"), 1)
    inputs, targets = batch()
    made.selected, indices = torch.tensor([False, True]), torch.tensor([0, 1])
    out = made(inputs, targets, indices, 0)
    # The first image alone has boxes, and so anchors that are neither matched nor background.
    rows = next(rows for rows in out.rows.values() if (rows.labels == -100).any())
    truth = ground_truth(rows.labels, rows.logits)
    mask = batch_weight(made.method.selection, made.selected, rows, rows.logits, truth, indices, 0, 0)
    assert torch.equal(mask, rows.sample == 1)
    made.selected = torch.tensor([False, False])
    parts = made(inputs, targets, indices, 0).parts
    assert all(float(part.detach()) == 0 for name, part in parts.items() if name.startswith("kd"))


def test_positions_draw_as_many_rows_of_each_image_and_level():
    inputs, targets = batch()
    made = distiller("kd", 1, positions=16)
    rows = train_anchors(made.student, inputs["images"], targets).heads["main"]
    some, logits = made.task.taught(rows, rows.logits, torch.tensor([3, 8]), 0)
    assert some.sample.bincount().tolist() == [16, 16]
    torch.testing.assert_close(some.logits, logits)
    again, _ = made.task.taught(rows, rows.logits, torch.tensor([3, 8]), 1)
    assert not torch.equal(some.logits, again.logits)
    assert made(inputs, targets).loss.isfinite()


def test_a_teacher_with_another_size_of_images_classifies_the_same_regions():
    made = Distiller(network(), network(2, 12, min_size=96, max_size=192), "kd", task=Detection(3))
    inputs, targets = batch()
    assert made(inputs, targets).loss.isfinite()


def test_crowds_are_left_out_of_the_training():
    inputs, targets = batch()
    crowds = [{**target, "crowd": torch.zeros(len(target["boxes"]), dtype=torch.bool)} for target in targets]
    more = torch.tensor([[1.0, 1.0, 60.0, 60.0]])
    crowds[0] = {
        "boxes": torch.cat([targets[0]["boxes"], more]),
        "labels": torch.tensor([1, 3, 2]),
        "crowd": torch.tensor([False, False, True]),
    }
    given = Detection(3).student_inputs(inputs, crowds)["targets"]
    assert all(torch.equal(a[k], b[k]) for a, b in zip(given, targets, strict=True) for k in ("boxes", "labels"))


def test_in_eval_mode_a_student_gives_boxes_and_a_distiller_says_so():
    made = distiller("kd").eval()
    inputs, targets = batch()
    found = made.task.call(made.student, inputs)
    assert all(sorted(part) == ["boxes", "labels", "scores"] for part in found)
    with pytest.raises(
        UserError, match="output: got boxes, as a detector gives them in eval mode, expected that of train"
    ):
        made(inputs, targets)


def test_other_networks_and_teachers_are_refused_in_one_line():
    two, one = network(2), network(1)
    cases = (
        (two, one, r"got a RetinaNet, a one-stage detector \(RetinaNet\), expected a two-stage detector"),
        (one, two, r"got a FasterRCNN, a two-stage detector .*, expected a one-stage"),
        (two, nn.Linear(2, 2), "got a Linear, expected a two-stage"),
        (two, models.create("small_detector", num_classes=5), "has 6 classes with the background, expected 4"),
        (two, EnsembleTeacher([LiveTeacher(network(2, seed=s)) for s in (1, 2)]), "got a EnsembleTeacher as teacher"),
        (network(1), models.create("retinanet", num_classes=3, min_size=64), "has the anchor sizes"),
    )
    for student, teacher, line in cases:
        with pytest.raises(UserError, match=line):
            Distiller(student, teacher, "kd", task=Detection(3))
    with pytest.raises(UserError, match="got a Linear, expected torchvision's FasterRCNN or RetinaNet"):
        Distiller(nn.Linear(2, 2), None, "none", task=Detection(3))(*batch())
    with pytest.raises(UserError, match=r"teacher: has anchors of the sizes .*, expected those of the student"):
        Distiller(network(1), network(1, min_size=96, max_size=200), "kd", task=Detection(3))(*batch())
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    masks = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
    with pytest.raises(UserError, match="got a MaskRCNN, expected a detector that learns boxes alone"):
        Distiller(masks, None, "none", task=Detection(3))(*batch())


@pytest.mark.parametrize("stages", [1, 2])
def test_teachers_made_from_labels_need_the_number_of_logits_of_a_row(stages):
    task = Detection(3, stages=3 - stages)
    for method, teacher in (("tf_kd_reg", None), ("lw_kd", _lightweight(4))):
        with pytest.raises(UserError, match=f"task.stages: got {3 - stages}, expected {stages}, as the student is a"):
            Distiller(network(stages), teacher, method, task=task)


def test_ground_truth_that_does_not_fit_is_refused_in_one_line():
    inputs, targets = batch()
    good, made = targets[0], distiller("none")
    boxes, labels = good["boxes"], good["labels"]
    cases = (
        (targets[:1], "targets: got 1, expected a list of 2"),
        (torch.zeros(2), "targets: got Tensor"),
        ([good, {"boxes": boxes}], r"targets\[1\]: got dict, expected a mapping with boxes and labels"),
        ([good, {"boxes": boxes[:, :3], "labels": labels}], r"targets\[1\]: got torch.float32 \(2, 3\) as boxes"),
        ([good, {"boxes": boxes, "labels": labels[:1]}], r"targets\[1\]: got torch.int64 \(1,\) as labels"),
        ([good, {"boxes": boxes, "labels": labels + 1}], "got labels from 2 to 4, expected 1 to 3"),
        ([good, {"boxes": boxes, "labels": labels - 1}], "got labels from 0 to 2, expected 1 to 3"),
        ([good, {"boxes": boxes * torch.nan, "labels": labels}], "got the box .nan"),
        ([good, {"boxes": boxes[:, [2, 1, 0, 3]], "labels": labels}], "got the box"),
        ([good, {**good, "crowd": labels}], r"targets\[1\]: got torch.int64 \(2,\) as crowd, expected bool \(2,\)"),
        ([good, {**good, "crowd": labels[:1] > 0}], r"targets\[1\]: got torch.bool \(1,\) as crowd"),
        ([good, {**good, "crowd": [True, False]}], r"targets\[1\]: got list as crowd"),
    )
    for wrong, line in cases:
        with pytest.raises(UserError, match=line):
            made(inputs, wrong)
    with pytest.raises(UserError, match="label_smoothing: got 0.1, expected 0 for RetinaNet"):
        distiller("label_smoothing", 1)(inputs, targets)
    for options, line in (({"stages": 3}, "task.stages: got 3"), ({"positions": 0}, "task.positions: got 0")):
        with pytest.raises(UserError, match=line):
            create("detection", 3, **options)


def test_images_that_do_not_fit_are_refused_in_one_line():
    _, targets = batch()
    made, image = distiller("kd"), torch.rand(3, 64, 64)
    cases = (
        ([image, (image * 255).byte()], r"images\[1\]: got torch.uint8 \(3, 64, 64\), expected floats \(3, H, W\)"),
        ([image[0], image[0]], r"images\[0\]: got torch.float32 \(64, 64\), expected floats"),
        (["a.jpg", "b.jpg"], r"images\[0\]: got str, expected floats"),
        ({"pixel_values": [image, image]}, "inputs: got the keys pixel_values, expected a list of images"),
        ({"images": []}, "inputs: got no image, expected a list of images"),
        ([], "inputs: got no image, expected a list of images"),
        (None, "inputs: got NoneType, expected a list of images"),
    )
    for wrong, line in cases:
        with pytest.raises(UserError, match=line):
            made(wrong, targets)
        with pytest.raises(UserError, match=line):
            made.task.call(made.student.eval(), wrong)
        made.train()


def test_label_smoothing_changes_the_loss_of_classes_alone():
    inputs, targets = batch()
    parts = []
    for method in ("label_smoothing", "none"):
        made = distiller(method)
        torch.manual_seed(9)
        out = made(inputs, targets)
        parts.append(out.parts)
    smooth = nn.functional.cross_entropy(out.rows["main"].logits, out.rows["main"].labels, label_smoothing=0.1)
    torch.testing.assert_close(parts[0]["ce"], smooth)
    assert float(parts[0]["ce"].detach()) != float(parts[1]["ce"].detach())
    for name in ("box_reg", "objectness", "rpn_box_reg"):
        torch.testing.assert_close(parts[0][name], parts[1][name])


def test_a_batch_of_three_images_is_no_batch_of_rows():
    inputs, targets = batch(3)
    assert Batch(inputs, targets).size == 3
    assert not are_rows(inputs, 3)
    made = distiller("kd")
    assert made(inputs, targets).loss.isfinite()


def test_copies_and_bf16():
    made = copy.deepcopy(distiller("dist+mimic"))
    inputs, targets = batch()
    with torch.autocast("cpu", torch.bfloat16):
        out = made(inputs, targets)
        out.loss.backward()
        found = made.task.call(made.student.eval(), inputs)
    assert out.loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in made.student.parameters())
    assert all(part["boxes"].dtype == torch.float32 for part in found)


def test_tasks_of_images_take_no_boxes():
    with pytest.raises(UserError, match="whose samples have no boxes"):
        Detection(3).check_targets(torch.zeros(2), "digits")
    assert Detection(3).row_classes == 4
    assert Detection(3, stages=1).row_classes == 2
    assert Classification(3).student_inputs(1, 2) == 1


def test_boxes_under_autocast_are_those_of_float32():
    """torchvision's own forward makes anchors of bfloat16 there, whose edges beyond 256 pixels are even numbers."""
    made = network(min_size=320, max_size=480).eval()
    images = [torch.rand(3, 320, 470)]
    seen = []
    made.rpn.anchor_generator.register_forward_hook(lambda _, __, anchors: seen.append(anchors[0]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        made(images)
        Detection(3).call(made, {"images": images})
    with torch.no_grad():
        made(images)
    own, ours, full = seen
    assert own.dtype == torch.bfloat16
    assert torch.equal(ours, full)
    assert (own.float() - full).abs().max() >= 1


def test_a_mask_rcnn_teaches_its_boxes():
    from torchvision.models.detection import MaskRCNN

    torch.manual_seed(0)
    boxes = network(width=8)
    teacher = MaskRCNN(boxes.backbone, 4, min_size=64, max_size=96, rpn_anchor_generator=boxes.rpn.anchor_generator)
    out = Distiller(network(), teacher, "dist", task=Detection(3))(*batch())
    assert out.parts["dist"].isfinite()


def test_features_of_a_network_that_is_run_part_by_part():
    made = network().eval()
    extractor = models.FeatureExtractor(made, ["backbone.fpn.layer_blocks.0", "backbone.body.layer2"])
    inputs, _ = batch()
    found, features = extractor.called(Detection(3).call, inputs)
    _, same = extractor(images=inputs["images"])
    assert sorted(found[0]) == ["boxes", "labels", "scores"]
    assert all(torch.equal(a, b) for a, b in zip(features, same, strict=True))
