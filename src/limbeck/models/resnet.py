"""Residual networks for small images: He et al.'s three-stage CIFAR family and the four-stage ResNet-18 and -50."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.models.layers import Parts, classifier, conv, network, scaled


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """He et al.'s option B: a 1x1 convolution where the shape changes, else nothing."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(conv(in_channels, out_channels, 1, stride=stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., "Deep Residual Learning", CVPR 2016, figure 5 left).

    Args:
        in_channels: Channels of the input.
        channels: Channels of the convolutions and of the output.
        stride: Step of the first convolution.

    Example:
        >>> import torch
        >>> BasicBlock(16, 32, stride=2)(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _projection(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut (He et al., 2016, figure 5 right), the stride on the 3x3.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the narrow part; the output has four times as many.
        stride: Step of the 3x3 convolution.

    Example:
        >>> import torch
        >>> Bottleneck(64, 16)(torch.zeros(1, 64, 8, 8)).shape
        torch.Size([1, 64, 8, 8])
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = conv(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, stride=stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv(channels, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = _projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, 4 * channels, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += self.shortcut(x)
        return F.relu(y, inplace=True)


Block = type[BasicBlock] | type[Bottleneck]


def _stages(block: Block, in_channels: int, channels: Sequence[int], depths: Sequence[int]) -> Parts:
    """Stages named layer1, layer2, ...; each but the first halves the map."""
    stages: Parts = OrderedDict()
    for number, (narrow, depth) in enumerate(zip(channels, depths, strict=True), start=1):
        blocks: list[nn.Module] = []
        for position in range(depth):
            stride = 2 if number > 1 and position == 0 else 1
            blocks.append(block(in_channels, narrow, stride=stride))
            in_channels = narrow * block.expansion
        stages[f"layer{number}"] = nn.Sequential(*blocks)
    return stages


def resnet(
    block: Block,
    stem: int,
    channels: Sequence[int],
    depths: Sequence[int],
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
) -> nn.Sequential:
    """Build a residual network with a 3x3 stem at full resolution, projection shortcuts and no max pooling.

    With three stages it is He et al.'s network of 6n + 2 layers for CIFAR (2016, section 4.2), with four the one of
    their table 1 with a stem for small images.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        stem: Channels of the first convolution.
        channels: Channels of each stage (of the narrow part in bottlenecks).
        depths: Blocks of each stage.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        width: Multiplier of all channel counts, the stem's included.

    Returns:
        The network, from (N, in_channels, H, W) to (N, num_classes).

    Raises:
        UserError: If the width is not a number above 0.

    Example:
        >>> import torch
        >>> net = resnet(BasicBlock, 8, [8, 16], [1, 2], num_classes=5)
        >>> net(torch.zeros(2, 3, 12, 12)).shape
        torch.Size([2, 5])
    """
    stem, channels = scaled(stem, width), [scaled(count, width) for count in channels]
    parts: Parts = OrderedDict(conv1=conv(in_channels, stem, 3), bn1=nn.BatchNorm2d(stem), relu=nn.ReLU(inplace=True))
    parts.update(_stages(block, stem, channels, depths))
    parts.update(classifier(channels[-1] * block.expansion, num_classes))
    return network(parts)
