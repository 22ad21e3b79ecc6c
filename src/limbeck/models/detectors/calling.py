"""How torchvision's detectors are run: to find boxes, to be trained, and at another detector's regions or anchors."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.models.detectors.output import Anchors, DetectorOutput, Regions, in_full

Images = Sequence[Tensor]
_KINDS = {1: "a one-stage detector (RetinaNet)", 2: "a two-stage detector (Faster R-CNN)"}


def stage_count(network: nn.Module) -> int | None:
    """Return 2 for torchvision's Faster R-CNN and its like, 1 for its RetinaNet, None for any other network.

    Example:
        >>> from limbeck import models
        >>> stage_count(models.create("small_detector", num_classes=3)), stage_count(nn.Linear(2, 2))
        (2, None)
    """
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

    return 2 if isinstance(network, GeneralizedRCNN) else 1 if isinstance(network, RetinaNet) else None


def columns(network: Any) -> int | None:
    """Return how many classes a detector has with the background; None where its head does not have the number.

    Example:
        >>> from limbeck import models
        >>> columns(models.create("small_detector", num_classes=3))
        4
    """
    if stage_count(network) == 1:
        return getattr(network.head.classification_head, "num_classes", None)
    score = getattr(network.roi_heads.box_predictor, "cls_score", None)
    return getattr(score, "out_features", None)


def detected(network: Any, images: Images) -> Any:
    """Run a detector in eval mode, its boxes decoded in float32 also under autocast.

    Returns:
        For each image a mapping of ``boxes``, ``labels`` and ``scores``.

    Example:
        >>> import torch
        >>> from limbeck import models
        >>> sorted(detected(models.create("small_detector", num_classes=3).eval(), [torch.zeros(3, 64, 64)])[0])
        ['boxes', 'labels', 'scores']
    """
    with in_full(*_decoded_parts(network)):
        return network(list(images))


def _decoded_parts(network: Any) -> tuple[nn.Module, ...]:
    stages = stage_count(network)
    if stages is None:
        return ()
    if stages == 1:
        return network.backbone, network.head
    return network.backbone, network.rpn.head, network.roi_heads.box_predictor


def trained(network: Any, images: Images, targets: Sequence[Mapping[str, Tensor]]) -> DetectorOutput:
    """Run a detector to train it; see :func:`train_regions` and :func:`train_anchors` beside this.

    Raises:
        UserError: If it is none of torchvision's, or has more than boxes to learn.

    Example:
        >>> import torch
        >>> trained(nn.Linear(2, 2), [torch.zeros(3, 64, 64)], [])
        Traceback (most recent call last):
        limbeck.errors.UserError: got a Linear, expected torchvision's FasterRCNN or RetinaNet, or a subclass
    """
    stages = stage_count(network)
    if stages is None:
        expected = "expected torchvision's FasterRCNN or RetinaNet, or a subclass"
        raise UserError(f"got a {type(network).__name__}, {expected}")
    if stages == 1:
        from limbeck.models.detectors.one_stage import train_anchors

        return train_anchors(network, images, targets)
    from limbeck.models.detectors.two_stage import train_regions

    if network.roi_heads.has_mask() or network.roi_heads.has_keypoint():
        raise UserError(f"got a {type(network).__name__}, expected a detector that learns boxes alone")
    return train_regions(network, images, targets)


def at_places(network: Any, images: Images, places: Regions | Anchors) -> DetectorOutput:
    """Run a detector for its logits at the regions or the anchors of another one.

    Raises:
        UserError: If it is of another kind, or its anchors are others.

    Example:
        >>> import torch
        >>> from limbeck import models
        >>> detector = models.create("small_detector", num_classes=3).eval()
        >>> regions = Regions([torch.tensor([[0., 0., 32., 32.]])], [(64, 64)])
        >>> at_places(detector, [torch.zeros(3, 64, 64)], regions).heads["main"].logits.shape
        torch.Size([1, 4])
    """
    stages = stage_count(network)
    if stages != (2 if isinstance(places, Regions) else 1):
        raise UserError(_other_kind(network, stages, 2 if isinstance(places, Regions) else 1))
    if isinstance(places, Regions):
        from limbeck.models.detectors.two_stage import region_logits

        return region_logits(network, images, places)
    from limbeck.models.detectors.one_stage import anchor_logits

    output = anchor_logits(network, images)
    if output.places != places:
        got = f"{_in_words(output.places)}"
        raise UserError(f"teacher: has {got}, expected those of the student, {_in_words(places)}")
    return output


def _in_words(places: Any) -> str:
    sizes, counts = "/".join(str(list(level)) for level in places.shapes[0]), list(places.counts)
    return f"anchors of the sizes {sizes}, {counts} a level, and {places.classes} classes with the background"


def _other_kind(network: Any, stages: int | None, student: int) -> str:
    kind = f", {_KINDS[stages]}" if stages else ""
    return f"teacher: got a {type(network).__name__}{kind}, expected {_KINDS[student]} as the student"


def check_pair(student: Any, teacher: Any) -> None:
    """Check that two detectors can be compared: of one kind, with as many classes, and one-stage ones with one anchors.

    Raises:
        UserError: If they cannot.

    Example:
        >>> from limbeck import models
        >>> check_pair(*(models.create("small_detector", num_classes=n) for n in (3, 5)))
        Traceback (most recent call last):
        limbeck.errors.UserError: teacher: has 6 classes with the background, expected 4 as the student
    """
    stages = stage_count(student)
    if stages is None:
        return
    if stage_count(teacher) != stages:
        raise UserError(_other_kind(teacher, stage_count(teacher), stages))
    own, other = columns(student), columns(teacher)
    if own and other and own != other:
        raise UserError(f"teacher: has {other} classes with the background, expected {own} as the student")
    if stages == 1:
        _check_anchors(student.anchor_generator, teacher.anchor_generator)
        sizes = sorted(set(student.transform.min_size))
        if len(sizes) > 1:
            expected = "expected one min_size, for the teacher must have the same anchors"
            raise UserError(f"student: resizes images to one of the sizes {sizes} at random, {expected}")


def _check_anchors(own: Any, other: Any) -> None:
    for name in ("sizes", "aspect_ratios"):
        first, second = ([list(level) for level in getattr(part, name)] for part in (own, other))
        if first != second:
            raise UserError(f"teacher: has the anchor {name} {second}, expected the student's, {first}")
