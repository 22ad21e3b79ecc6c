"""ShuffleNet V1 and V2 for small images: a 1x1 stem at full resolution instead of a strided one with max pooling."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.models.layers import Parts, classifier, conv, network

_STEM = 24


class GroupedUnit(nn.Module):
    """The unit of ShuffleNet V1 (Zhang et al., CVPR 2018, figure 2b and c): grouped 1x1, shuffle, depthwise 3x3, 1x1.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: 1 adds the input to the result; 2 halves the map and appends the averaged input to the result.
        groups: Channel groups of the last 1x1 convolution.
        first_groups: Channel groups of the first 1x1 convolution and of the shuffle.

    Example:
        >>> import torch
        >>> GroupedUnit(24, 240, stride=2, groups=3, first_groups=1)(torch.zeros(1, 24, 8, 8)).shape
        torch.Size([1, 240, 4, 4])
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int, groups: int, first_groups: int) -> None:
        super().__init__()
        self.stride = stride
        appended = channels - in_channels if stride == 2 else channels
        narrow = appended // 4
        self.conv1 = conv(in_channels, narrow, 1, groups=first_groups)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.shuffle = nn.ChannelShuffle(first_groups)
        self.conv2 = conv(narrow, narrow, 3, stride=stride, groups=narrow)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3 = conv(narrow, appended, 1, groups=groups)
        self.bn3 = nn.BatchNorm2d(appended)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        y = self.shuffle(F.relu(self.bn1(self.conv1(x)), inplace=True))
        # The paper has no ReLU after the depthwise convolution; the benchmark's network has one.
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y = y + x if self.stride == 1 else torch.cat([y, F.avg_pool2d(x, 3, stride=2, padding=1)], dim=1)
        return F.relu(y, inplace=True)


class SplitUnit(nn.Module):
    """The basic unit of ShuffleNet V2: half the channels pass by, half are convolved (Ma et al., ECCV 2018, figure 3c).

    Args:
        channels: Channels of the input and the output, even.

    Example:
        >>> import torch
        >>> SplitUnit(16)(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 16, 8, 8])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = conv(half, half, 1)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = conv(half, half, 3, groups=half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv(half, half, 1)
        self.bn3 = nn.BatchNorm2d(half)
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        passed, y = x.chunk(2, dim=1)
        y = F.relu(self.bn1(self.conv1(y)), inplace=True)
        y = self.bn2(self.conv2(y))
        y = F.relu(self.bn3(self.conv3(y)), inplace=True)
        shuffled: Tensor = self.shuffle(torch.cat([passed, y], dim=1))
        return shuffled


class DownUnit(nn.Module):
    """The down-sampling unit of ShuffleNet V2: both branches see all channels and halve the map (figure 3d).

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output, even.

    Example:
        >>> import torch
        >>> DownUnit(24, 116)(torch.zeros(1, 24, 8, 8)).shape
        torch.Size([1, 116, 4, 4])
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = conv(in_channels, in_channels, 3, stride=2, groups=in_channels)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv2 = conv(in_channels, half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv(in_channels, half, 1)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = conv(half, half, 3, stride=2, groups=half)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = conv(half, half, 1)
        self.bn5 = nn.BatchNorm2d(half)
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / 2, W / 2)."""
        left = self.bn1(self.conv1(x))
        left = F.relu(self.bn2(self.conv2(left)), inplace=True)
        right = F.relu(self.bn3(self.conv3(x)), inplace=True)
        right = self.bn4(self.conv4(right))
        right = F.relu(self.bn5(self.conv5(right)), inplace=True)
        shuffled: Tensor = self.shuffle(torch.cat([left, right], dim=1))
        return shuffled


def _stem(in_channels: int) -> Parts:
    return OrderedDict(conv1=conv(in_channels, _STEM, 1), bn1=nn.BatchNorm2d(_STEM), relu=nn.ReLU(inplace=True))


def shufflenetv1(
    *, channels: Sequence[int], depths: Sequence[int], groups: int, num_classes: int, in_channels: int = 3
) -> nn.Sequential:
    """Build ShuffleNet V1 (Zhang et al., "ShuffleNet", CVPR 2018, table 1).

    Args:
        channels: Channels of the three stages.
        depths: Units of each stage, the down-sampling one included.
        groups: Channel groups of the 1x1 convolutions.
        num_classes: Number of logits.
        in_channels: Channels of the images.

    Returns:
        The network, from (N, in_channels, H, W) to (N, num_classes).

    Example:
        >>> import torch
        >>> net = shufflenetv1(channels=(48, 96, 192), depths=(1, 2, 1), groups=3, num_classes=10)
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    parts, before = _stem(in_channels), _STEM
    for stage, (count, depth) in enumerate(zip(channels, depths, strict=True), start=1):
        # The stem's few channels are not worth grouping (section 3.2 of the paper).
        units = [GroupedUnit(before, count, stride=2, groups=groups, first_groups=1 if stage == 1 else groups)]
        units += [GroupedUnit(count, count, stride=1, groups=groups, first_groups=groups) for _ in range(depth - 1)]
        parts[f"layer{stage}"] = nn.Sequential(*units)
        before = count
    parts.update(classifier(before, num_classes))
    return network(parts)


def shufflenetv2(
    *, channels: Sequence[int], depths: Sequence[int], features: int, num_classes: int, in_channels: int = 3
) -> nn.Sequential:
    """Build ShuffleNet V2 (Ma et al., "ShuffleNet V2", ECCV 2018, table 5).

    Args:
        channels: Channels of the three stages, even.
        depths: Units of each stage, the down-sampling one included.
        features: Channels of the last 1x1 convolution.
        num_classes: Number of logits.
        in_channels: Channels of the images.

    Returns:
        The network, from (N, in_channels, H, W) to (N, num_classes).

    Example:
        >>> import torch
        >>> net = shufflenetv2(channels=(8, 16, 32), depths=(1, 2, 1), features=64, num_classes=10)
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    parts, before = _stem(in_channels), _STEM
    for stage, (count, depth) in enumerate(zip(channels, depths, strict=True), start=1):
        parts[f"layer{stage}"] = nn.Sequential(DownUnit(before, count), *(SplitUnit(count) for _ in range(depth - 1)))
        before = count
    parts.update(conv2=conv(before, features, 1), bn2=nn.BatchNorm2d(features), relu2=nn.ReLU(inplace=True))
    parts.update(classifier(features, num_classes))
    return network(parts)
