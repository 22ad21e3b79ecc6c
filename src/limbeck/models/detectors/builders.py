"""torchvision's detectors on ResNets of any depth, and a small one for trials."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from limbeck.errors import UserError, unknown_name
from limbeck.models.options import build, check_options, keyword_defaults

_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_SMALL_ANCHORS, _RATIOS = (12, 24, 48, 96), (0.5, 1.0, 2.0)


def fasterrcnn(
    num_classes: int,
    in_channels: int = 3,
    *,
    backbone: str = "resnet18",
    min_size: int = 320,
    max_size: int = 640,
    **options: Any,
) -> nn.Module:
    """Build torchvision's Faster R-CNN with a feature pyramid on a ResNet, its weights random.

    Args:
        num_classes: Number of classes without the background.
        in_channels: Channels of the images; 3 are possible.
        backbone: ``resnet18`` to ``resnet152``; all layers are trained, with batch norm.
        min_size: What the shorter side of an image is resized to.
        max_size: What its longer side is at most.
        **options: Further arguments of ``torchvision.models.detection.FasterRCNN``.

    Raises:
        UserError: If there is no such backbone, or torchvision does not take an option.

    Example:
        >>> fasterrcnn(3).roi_heads.box_predictor.cls_score.out_features
        4
    """
    from torchvision.models.detection import FasterRCNN

    sizes = {"min_size": min_size, "max_size": max_size}
    return _built("fasterrcnn", FasterRCNN, _pyramid(backbone), num_classes, in_channels, {**sizes, **options})


def retinanet(
    num_classes: int,
    in_channels: int = 3,
    *,
    backbone: str = "resnet18",
    min_size: int = 320,
    max_size: int = 640,
    **options: Any,
) -> nn.Module:
    """Build torchvision's RetinaNet on a ResNet, its weights random; see :func:`fasterrcnn` for the arguments.

    Raises:
        UserError: If there is no such backbone, or torchvision does not take an option.

    Example:
        >>> retinanet(3).head.classification_head.num_classes
        4
    """
    from torchvision.models.detection import RetinaNet
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    pyramid = _pyramid(backbone, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
    sizes = {"min_size": min_size, "max_size": max_size}
    return _built("retinanet", RetinaNet, pyramid, num_classes, in_channels, {**sizes, **options})


def _built(
    label: str,
    detector: Callable[..., nn.Module],
    pyramid: nn.Module,
    num_classes: int,
    in_channels: int,
    options: Mapping[str, Any],
) -> nn.Module:
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    _check_channels(label, in_channels)
    # A detector passes unknown arguments on to its transform, which takes anything.
    accepted = {*keyword_defaults(detector), *keyword_defaults(GeneralizedRCNNTransform)}
    check_options(label, options, accepted - {"num_classes"} | {"min_size", "max_size"})
    arguments = {"backbone": pyramid, "num_classes": num_classes + 1, **options}
    return build(label, detector, detector.__module__, arguments)


def _check_channels(label: str, in_channels: int) -> None:
    if in_channels != 3:
        raise UserError(f"model {label!r} takes 3 channels, got in_channels={in_channels}")


def _pyramid(backbone: str, **options: Any) -> nn.Module:
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    if backbone not in _RESNETS:
        raise unknown_name("backbone", backbone, _RESNETS)
    common = {"weights": None, "norm_layer": nn.BatchNorm2d, "trainable_layers": 5}
    pyramid: nn.Module = resnet_fpn_backbone(backbone_name=backbone, **common, **options)
    return pyramid


def small_detector(
    num_classes: int,
    in_channels: int = 3,
    *,
    stages: int = 2,
    width: int = 16,
    min_size: int = 64,
    max_size: int = 128,
) -> nn.Module:
    """Build a small Faster R-CNN or RetinaNet for trials and tests, its parts torchvision's; the sizes are ours.

    Args:
        num_classes: Number of classes without the background.
        in_channels: Channels of the images; 3 are possible.
        stages: 2 for Faster R-CNN, 1 for RetinaNet.
        width: Channels of the first layer and half of those of the pyramid.
        min_size: What the shorter side of an image is resized to.
        max_size: What its longer side is at most.

    Raises:
        UserError: If a number is out of range.

    Example:
        >>> import torch
        >>> detector = small_detector(3).eval()
        >>> sorted(detector([torch.zeros(3, 64, 64)])[0])
        ['boxes', 'labels', 'scores']
    """
    _check_channels("small_detector", in_channels)
    if width < 1 or stages not in (1, 2):
        raise UserError(f"width and stages: got {width} and {stages}, expected at least 1, and 1 or 2")
    sizes = {"min_size": min_size, "max_size": max_size}
    made = _small_regions if stages == 2 else _small_anchors
    return made(num_classes + 1, width, sizes)


def _small_regions(columns: int, width: int, sizes: dict[str, int]) -> nn.Module:
    from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, RPNHead, TwoMLPHead
    from torchvision.ops import MultiScaleRoIAlign

    channels, names = 2 * width, ["0", "1", "2"]
    parts = {
        "rpn_head": RPNHead(channels, len(_RATIOS)),
        "box_roi_pool": MultiScaleRoIAlign(names, output_size=5, sampling_ratio=2, canonical_scale=48),
        "box_head": TwoMLPHead(25 * channels, 8 * width),
        "box_predictor": FastRCNNPredictor(8 * width, columns),
    }
    counts = {"rpn_pre_nms_top_n_train": 200, "rpn_post_nms_top_n_train": 100, "box_batch_size_per_image": 32}
    counts |= {"rpn_pre_nms_top_n_test": 200, "rpn_post_nms_top_n_test": 50, "rpn_batch_size_per_image": 64}
    anchors = _anchors(tuple((size,) for size in _SMALL_ANCHORS))
    detector: nn.Module = FasterRCNN(_small_pyramid(width), rpn_anchor_generator=anchors, **parts, **counts, **sizes)
    return detector


def _small_anchors(columns: int, width: int, sizes: dict[str, int]) -> nn.Module:
    from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead

    anchors = _anchors(tuple((size, round(1.4 * size)) for size in _SMALL_ANCHORS))
    # Without a normalization its four layers hardly begin to learn in a short training.
    norm = partial(nn.GroupNorm, 2)
    head = RetinaNetHead(2 * width, anchors.num_anchors_per_location()[0], columns, norm_layer=norm)
    detector: nn.Module = RetinaNet(_small_pyramid(width), columns, anchor_generator=anchors, head=head, **sizes)
    return detector


def _anchors(sizes: tuple[tuple[int, ...], ...]) -> Any:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    return AnchorGenerator(sizes, (_RATIOS,) * len(sizes))


def _small_pyramid(width: int) -> nn.Module:
    from torchvision.models.detection.backbone_utils import BackboneWithFPN

    widths = (width, 2 * width, 4 * width)
    stem = nn.Sequential(_convolution(3, width), _convolution(width, width))
    levels = {f"layer{n + 1}": _convolution(widths[max(n - 1, 0)], widths[n]) for n in range(3)}
    returned = {name: str(place) for place, name in enumerate(levels)}
    body = nn.Sequential(OrderedDict(stem=stem, **levels))
    pyramid: nn.Module = BackboneWithFPN(body, returned, list(widths), 2 * width)
    return pyramid


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
