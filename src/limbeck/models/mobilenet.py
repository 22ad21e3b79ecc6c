"""MobileNetV2 for small images (Sandler et al., "Inverted Residuals and Linear Bottlenecks", CVPR 2018)."""

from collections import OrderedDict

from torch import Tensor, nn

from limbeck.models.layers import Parts, classifier, conv, network, scaled

# Expansion, channels at width 1, blocks and first stride of each stage: table 2 of the paper, except that the second
# stage keeps the resolution, which is the benchmark's layout for 32x32 images.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _conv_bn_relu(in_channels: int, channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    layers = conv(in_channels, channels, kernel_size, stride=stride), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter depthwise, project linearly; a shortcut where the shape stays (section 3.3).

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Step of the depthwise convolution.
        expansion: Multiplier of the input's channels inside the block.

    Example:
        >>> import torch
        >>> InvertedResidual(8, 12, stride=2, expansion=6)(torch.zeros(1, 8, 8, 8)).shape
        torch.Size([1, 12, 4, 4])
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.residual = stride == 1 and in_channels == channels
        self.conv = nn.Sequential(
            conv(in_channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            conv(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            conv(hidden, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


def _stages(in_channels: int, width: float) -> nn.Sequential:
    stages = []
    for expansion, channels, depth, first_stride in _STAGES:
        blocks = []
        for stride in [first_stride] + [1] * (depth - 1):
            blocks.append(InvertedResidual(in_channels, scaled(channels, width), stride=stride, expansion=expansion))
            in_channels = scaled(channels, width)
        stages.append(nn.Sequential(*blocks))
    return nn.Sequential(*stages)


def mobilenetv2(*, num_classes: int, in_channels: int = 3, width: float = 0.5) -> nn.Sequential:
    """Build MobileNetV2 as the knowledge-distillation benchmark has it on CIFAR.

    It differs from the paper's network by its half width, ReLU instead of ReLU6, and one halving of the map fewer.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        width: Multiplier of all channel counts; the last layer's 1280 only grows (section 4).

    Returns:
        The network, from (N, in_channels, H, W) to (N, num_classes).

    Raises:
        UserError: If the width is not a number above 0.

    Example:
        >>> import torch
        >>> mobilenetv2(num_classes=10, width=0.25)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    stem, last, features = (scaled(count, width) for count in (32, 320, 1280))
    features = max(features, 1280)
    parts: Parts = OrderedDict(conv1=_conv_bn_relu(in_channels, stem, 3, stride=2))
    parts.update(blocks=_stages(stem, width), conv2=_conv_bn_relu(last, features, 1))
    parts.update(classifier(features, num_classes))
    return network(parts)
