"""VGG with batch norm for small images (Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015)."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from limbeck.models.layers import Parts, classifier, network

_CHANNELS = (64, 128, 256, 512, 512)


def _block(in_channels: int, channels: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        # The bias is idle before a batch norm; the benchmark's counts include it.
        layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        in_channels = channels
    return nn.Sequential(*layers)


def vgg(*, depths: Sequence[int], num_classes: int, in_channels: int = 3) -> nn.Sequential:
    """Build the convolutions of table 1 of the paper, each with batch norm, and one linear layer instead of three.

    The first three of the five blocks end in 2x2 max pooling; the last map is averaged to one pixel, so that any image
    of at least 8x8 pixels goes through.

    Args:
        depths: Convolutions in each of the five blocks (64, 128, 256, 512 and 512 channels).
        num_classes: Number of logits.
        in_channels: Channels of the images.

    Returns:
        The network, from (N, in_channels, H, W) to (N, num_classes).

    Example:
        >>> import torch
        >>> vgg(depths=(1, 1, 1, 1, 1), num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    parts: Parts = OrderedDict()
    for number, (channels, depth) in enumerate(zip(_CHANNELS, depths, strict=True)):
        parts[f"block{number}"] = _block(in_channels, channels, depth)
        if number < 3:
            parts[f"pool{number}"] = nn.MaxPool2d(2)
        in_channels = channels
    parts.update(classifier(in_channels, num_classes))
    return network(parts)
