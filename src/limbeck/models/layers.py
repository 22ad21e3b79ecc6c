"""Pieces that the zoo's networks share: convolutions, width scaling, the classifier's end and the first weights."""

from collections import OrderedDict

from torch import nn

from limbeck.errors import UserError

Parts = OrderedDict[str, nn.Module]


def conv(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Build a convolution without bias (a batch norm follows) that keeps the size at stride 1.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel, odd.
        stride: Step in pixels, 1 or 2.
        groups: Number of channel groups; ``in_channels`` of them make it depthwise.

    Returns:
        A convolution from (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride), sizes rounded up.

    Example:
        >>> import torch
        >>> conv(3, 8, 3, stride=2)(torch.zeros(1, 3, 7, 7)).shape
        torch.Size([1, 8, 4, 4])
    """
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)


def scaled(channels: int, width: float) -> int:
    """Multiply a channel count by a width, to the nearest whole number and at least 1.

    Args:
        channels: The count at width 1.
        width: The multiplier, above 0.

    Returns:
        The scaled count.

    Raises:
        UserError: If the width is not a number above 0.

    Example:
        >>> scaled(24, 0.5)
        12
    """
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < float("inf"):
        raise UserError(f"model option width: got {width!r}, expected a number above 0")
    return max(1, round(channels * width))


def classifier(features: int, num_classes: int) -> Parts:
    """Build the end of every zoo network: mean over the map, then one linear layer named ``fc``.

    Args:
        features: Channels of the last feature map.
        num_classes: Number of logits.

    Returns:
        The named parts; in a row they map (N, features, H, W) to (N, num_classes).

    Example:
        >>> list(classifier(64, 10))
        ['pool', 'flatten', 'fc']
    """
    return OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(features, num_classes))


def network(parts: Parts) -> nn.Sequential:
    """Put named parts in a row and draw their first weights from torch's generator.

    Convolutions are Kaiming normal over the fan-out, with zero bias (He et al., "Delving Deep into Rectifiers", 2015,
    section 2.2); batch norms begin as the identity; linear layers keep torch's own initialization.

    Args:
        parts: The modules in the order of the forward pass.

    Returns:
        The network.

    Example:
        >>> network(OrderedDict(bn=nn.BatchNorm2d(2))).bn.weight.tolist()
        [1.0, 1.0]
    """
    model = nn.Sequential(parts)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    return model
