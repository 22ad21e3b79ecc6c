"""Networks for segmentation that give small maps of logits: timm's features with a head, and a plain residual one."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.errors import UserError, unknown_name

_DILATIONS = (1, 2, 4, 8)


def _convolution(inputs: int, outputs: int, size: int = 3, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (size // 2)
    layer = nn.Conv2d(inputs, outputs, size, stride, padding, dilation=dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first = _convolution(width, width, dilation=dilation)
        self.second = _convolution(width, width, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class SmallSegmenter(nn.Module):
    """A small residual network at a quarter of the image's size, with one linear layer a position as its head.

    Its blocks have the dilations 1, 2, 4 and 8 in turn, so that few of them see far. It is for trials, not for records;
    the design is ours.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the images.
        width: Channels of the blocks.
        blocks: How many there are.
        aux: Whether a head on the features in the middle gives logits too, under ``"aux"``.

    Raises:
        UserError: If a number is below 1.

    Example:
        >>> import torch
        >>> SmallSegmenter(5, 3, width=8)(torch.zeros(2, 3, 64, 48)).shape
        torch.Size([2, 5, 16, 12])
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, *, width: int = 32, blocks: int = 4, aux: bool = False
    ) -> None:
        super().__init__()
        if width < 1 or blocks < 1:
            raise UserError(f"width and blocks: got {width} and {blocks}, expected whole numbers of at least 1")
        self.stem = nn.Sequential(
            _convolution(in_channels, width, stride=2),
            nn.ReLU(),
            _convolution(width, width, stride=2),
            nn.ReLU(),
        )
        layers = [_Block(width, _DILATIONS[place % len(_DILATIONS)]) for place in range(blocks)]
        half = (blocks + 1) // 2
        self.first, self.second = nn.Sequential(*layers[:half]), nn.Sequential(*layers[half:])
        self.head = nn.Conv2d(width, num_classes, 1)
        self.aux_head = nn.Conv2d(width, num_classes, 1) if aux else None

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Map (N, in_channels, H, W) images to (N, num_classes, H/4, W/4) logits; with ``aux`` to two maps by name."""
        middle = self.first(self.stem(images))
        maps: Tensor = self.head(self.second(middle))
        return maps if self.aux_head is None else {"out": maps, "aux": self.aux_head(middle)}


class TimmSegmenter(nn.Module):
    """Features of a network of timm, added up at one size, with a small head.

    Each level of features at ``stride`` or coarser goes through a 1x1 convolution, is resized to the finest of them
    and added; a 3x3 convolution and a linear layer a position follow.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the images.
        backbone: A name of ``timm.create_model`` that has ``features_only``, such as ``resnet18``.
        width: Channels of the sum.
        stride: By what the image's size is divided at the finest level: 4, 8, 16 or 32.
        aux: Whether a head on the second coarsest level gives logits too, under ``"aux"``.
        pretrained: Whether the features have timm's pretrained weights, which are downloaded.

    Raises:
        UserError: If timm has no such network, or it has no features at this stride.

    References:
        The sum of levels is that of Kirillov et al., Panoptic Feature Pyramid Networks, arXiv 1901.02446, with one
        convolution a level; the rest is ours.

    Example:
        >>> import torch
        >>> net = TimmSegmenter(5, backbone="mobilenetv3_small_050", width=16, stride=8).eval()
        >>> net(torch.zeros(2, 3, 64, 96)).shape
        torch.Size([2, 5, 8, 12])
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        backbone: str,
        width: int = 64,
        stride: int = 4,
        aux: bool = False,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = _features(backbone, in_channels, pretrained=pretrained)
        levels = list(zip(self.backbone.feature_info.reduction(), self.backbone.feature_info.channels(), strict=True))
        self.levels = [place for place, (reduction, _) in enumerate(levels) if reduction >= stride]
        if stride not in (reduction for reduction, _ in levels) or (aux and len(self.levels) < 2):
            listed = ", ".join(str(reduction) for reduction, _ in levels)
            raise UserError(f"stride: got {stride}, expected one of the backbone's {listed}, with aux not the last")
        self.lateral = nn.ModuleList(nn.Conv2d(levels[place][1], width, 1) for place in self.levels)
        self.mixed = nn.Sequential(_convolution(width, width), nn.ReLU())
        self.head = nn.Conv2d(width, num_classes, 1)
        self.aux_head = nn.Conv2d(width, num_classes, 1) if aux else None

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Map (N, in_channels, H, W) images to (N, num_classes, H/stride, W/stride) logits; with ``aux`` two maps."""
        features = self.backbone(images)
        parts = [lateral(features[place]) for lateral, place in zip(self.lateral, self.levels, strict=True)]
        maps: Tensor = self.head(self.mixed(_added(parts)))
        return maps if self.aux_head is None else {"out": maps, "aux": self.aux_head(parts[-2])}


def _features(name: str, in_channels: int, *, pretrained: bool) -> Any:
    import timm

    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    return timm.create_model(name, features_only=True, pretrained=pretrained, in_chans=in_channels)


def _added(parts: Sequence[Tensor]) -> Tensor:
    total, size = parts[0], parts[0].shape[2:]
    for part in parts[1:]:
        total = total + F.interpolate(part, size=size, mode="bilinear", align_corners=False)
    return total
