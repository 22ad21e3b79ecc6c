"""Detectors by name, and their training forward part by part against torchvision's own."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models.detection.roi_heads import fastrcnn_loss

from limbeck import models
from limbeck.errors import UserError
from limbeck.models.detectors.one_stage import anchor_logits, train_anchors
from limbeck.models.detectors.two_stage import region_logits, train_regions


def batch(sizes=((64, 80), (72, 64))):
    torch.manual_seed(1)
    images = [torch.rand(3, *size) for size in sizes]
    boxes = torch.tensor([[4.0, 6.0, 30.0, 40.0], [20.0, 22.0, 60.0, 50.0]])
    targets = [{"boxes": boxes, "labels": torch.tensor([1, 3])} for _ in sizes]
    targets[-1] = {"boxes": boxes[:0], "labels": torch.zeros(0, dtype=torch.int64)}
    return images, targets


def detector(stages, **options):
    torch.manual_seed(0)
    return models.create("small_detector", num_classes=3, stages=stages, width=8, **options)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_torchvisions_two_stage_detectors_have_the_background_beside_the_classes(name):
    network = models.create(f"torchvision:{name}", num_classes=3, min_size=64, max_size=96)
    assert network.roi_heads.box_predictor.cls_score.out_features == 4
    assert sorted(network.eval()([torch.zeros(3, 64, 64)])[0]) == ["boxes", "labels", "scores"]


def test_builders_refuse_options_that_nothing_reads():
    for name in ("fasterrcnn", "retinanet"):
        with pytest.raises(UserError, match=f"unknown {name} option 'min_sise'; did you mean 'min_size'"):
            models.create(name, num_classes=3, min_sise=64)
        with pytest.raises(UserError, match="unknown backbone 'resnet19'"):
            models.create(name, num_classes=3, backbone="resnet19")
        with pytest.raises(UserError, match="takes 3 channels"):
            models.create(name, num_classes=3, in_channels=1)


def test_two_stage_losses_and_gradients_are_the_detectors_own():
    own, parts = detector(2), detector(2)
    images, targets = batch()
    torch.manual_seed(5)
    expected = own(images, targets)
    torch.manual_seed(5)
    output = train_regions(parts, images, targets)
    losses = {"main": "loss_classifier", **{name: f"loss_{name}" for name in ("box_reg", "objectness", "rpn_box_reg")}}
    assert set(output.losses) == set(losses)
    for name, other in losses.items():
        torch.testing.assert_close(output.losses[name], expected[other], rtol=0, atol=0)
    sum(expected.values()).backward()
    sum(output.losses.values()).backward()
    for first, second in zip(own.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad, rtol=0, atol=0)


def test_region_rows_are_the_box_head_run_by_hand():
    network = detector(2)
    images, targets = batch()
    output = train_regions(network, images, targets)
    rows, heads = output.heads["main"], network.roi_heads
    network.eval()
    resized, _ = network.transform(images)
    maps = network.backbone(resized.tensors)
    logits, boxes = heads.box_predictor(
        heads.box_head(heads.box_roi_pool(maps, output.places.boxes, resized.image_sizes))
    )
    given = region_logits(network, images, output.places)
    torch.testing.assert_close(given.heads["main"].logits, logits, rtol=0, atol=0)
    assert given.heads["main"].labels is None
    assert rows.logits.shape == logits.shape == (len(rows.sample), 4)
    assert rows.sample.bincount().tolist() == [len(part) for part in output.places.boxes]
    # An image without boxes has background alone.
    assert not rows.labels[rows.sample == 1].any()
    assert rows.labels[rows.sample == 0].any()
    deltas = [torch.zeros_like(part) for part in output.places.boxes]
    labels = list(rows.labels.split([len(part) for part in output.places.boxes]))
    loss, _ = fastrcnn_loss(rows.logits, torch.zeros_like(boxes), labels, deltas)
    torch.testing.assert_close(loss, output.losses["main"])


def test_regions_are_scaled_to_the_size_of_the_detector_that_classifies_them():
    student, teacher = detector(2), detector(2, min_size=128, max_size=256).eval()
    images, targets = batch()
    regions = train_regions(student, images, targets).places
    scaled = region_logits(teacher, images, regions).places
    assert scaled.sizes != regions.sizes
    for image, box, size, other, own in zip(
        images, regions.boxes, regions.sizes, scaled.boxes, scaled.sizes, strict=True
    ):
        del image
        ratio = torch.tensor([own[1] / size[1], own[0] / size[0]] * 2)
        torch.testing.assert_close(other, box * ratio)


def test_one_stage_losses_and_gradients_are_the_detectors_own():
    own, parts = detector(1), detector(1)
    images, targets = batch()
    expected, output = own(images, targets), train_anchors(parts, images, targets)
    torch.testing.assert_close(output.losses["main"], expected["classification"], rtol=0, atol=0)
    torch.testing.assert_close(output.losses["bbox_regression"], expected["bbox_regression"], rtol=0, atol=0)
    sum(expected.values()).backward()
    sum(output.losses.values()).backward()
    for first, second in zip(own.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad, rtol=0, atol=0)


def test_anchor_rows_are_the_heads_logits_level_by_level_with_the_matchers_labels():
    network = detector(1)
    images, targets = batch()
    output = train_anchors(network, images, targets)
    resized, moved = network.transform(images, targets)
    maps = list(network.backbone(resized.tensors).values())
    logits = network.head(maps)["cls_logits"]
    anchors = network.anchor_generator(resized, maps)
    matched = network.proposal_matcher(torchvision_iou(moved[0]["boxes"], anchors[0]))
    assert sum(output.places.counts) == logits.shape[1]
    assert (matched == -2).any()
    start = 0
    for count, rows in zip(output.places.counts, output.heads.values(), strict=True):
        level = logits[:, start : start + count, 1:]
        torch.testing.assert_close(rows.logits[:, 1], level.flatten())
        assert not rows.logits[:, 0].any()
        first = rows.labels[rows.sample == 0].view(count, 3)
        for place in range(count):
            found = int(matched[start + place])
            expected = (
                [-100] * 3 if found == -2 else [int(found >= 0 and targets[0]["labels"][found] == c) for c in (1, 2, 3)]
            )
            assert first[place].tolist() == expected
        assert not rows.labels[rows.sample == 1].any()
        start += count
    alone = anchor_logits(network, images)
    for head, rows in alone.heads.items():
        torch.testing.assert_close(rows.logits, output.heads[head].logits)


def torchvision_iou(boxes, anchors):
    from torchvision.ops import box_iou

    return box_iou(boxes, anchors)


@pytest.mark.parametrize("stages", [1, 2])
def test_anchors_and_boxes_stay_in_float32_under_autocast(stages):
    network = detector(stages)
    images, targets = batch()
    run = train_anchors if stages == 1 else train_regions
    with torch.autocast("cpu", torch.bfloat16):
        output = run(network, images, targets)
    assert all(rows.logits.dtype == torch.float32 for rows in output.heads.values())
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in output.losses.values())
    if stages == 2:
        assert all(part.dtype == torch.float32 for part in output.places.boxes)
    # No hook is left behind.
    assert not any(module._forward_hooks for module in network.modules())
    assert isinstance(copy.deepcopy(network), nn.Module)
