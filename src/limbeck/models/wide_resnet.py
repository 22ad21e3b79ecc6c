"""Wide residual networks (Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.models.layers import Parts, classifier, conv, network


class PreactivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, dropout between them (section 2 and figure 1d).

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Step of the first convolution.
        dropout: Share of the values between the convolutions that is zeroed in training.

    Example:
        >>> import torch
        >>> PreactivationBlock(16, 32, stride=2)(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv(in_channels, channels, 3, stride=stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv(channels, channels, 3)
        same = stride == 1 and in_channels == channels
        self.shortcut = None if same else conv(in_channels, channels, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        y = F.relu(self.bn1(x), inplace=True)
        # Where the shape changes the projection reads the activated input, as the authors' code does.
        skip = x if self.shortcut is None else self.shortcut(y)
        y = F.relu(self.bn2(self.conv1(y)), inplace=True)
        y = self.conv2(self.dropout(y))
        return torch.add(y, skip)


def _stage(in_channels: int, channels: int, depth: int, stride: int, dropout: float) -> nn.Sequential:
    first = PreactivationBlock(in_channels, channels, stride=stride, dropout=dropout)
    return nn.Sequential(first, *(PreactivationBlock(channels, channels, dropout=dropout) for _ in range(depth - 1)))


def wide_resnet(
    *, depth: int, widen: int, num_classes: int, in_channels: int = 3, dropout: float = 0.0
) -> nn.Sequential:
    """Build WRN-depth-widen (table 1 of the paper).

    Args:
        depth: Number of convolutions on the longest path, 6n + 4.
        widen: Multiplier of the three stages' 16, 32 and 64 channels; the stem stays at 16.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        dropout: Share of the values between a block's convolutions that is zeroed in training.

    Returns:
        The network, from (N, in_channels, H, W) to (N, num_classes).

    Raises:
        UserError: If dropout is outside [0, 1).

    Example:
        >>> import torch
        >>> wide_resnet(depth=10, widen=1, num_classes=4)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 4])
    """
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise UserError(f"model option dropout: got {dropout!r}, expected a number of at least 0 and below 1")
    channels = [16, 16 * widen, 32 * widen, 64 * widen]
    parts: Parts = OrderedDict(conv1=conv(in_channels, channels[0], 3))
    for stage, stride in zip((1, 2, 3), (1, 2, 2), strict=True):
        parts[f"block{stage}"] = _stage(channels[stage - 1], channels[stage], (depth - 4) // 6, stride, dropout)
    parts.update(bn1=nn.BatchNorm2d(channels[-1]), relu=nn.ReLU(inplace=True))
    parts.update(classifier(channels[-1], num_classes))
    return network(parts)
