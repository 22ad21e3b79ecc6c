"""Networks without batch norm, which processes train as one process does."""

from torch import nn


def staged(num_classes=10, in_channels=1, width=4):
    """Two stages and a linear layer, with group norm."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(in_channels, width, 3, 2, 1), nn.GroupNorm(2, width), nn.ReLU()),
        nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.GroupNorm(2, 2 * width), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, num_classes),
    )


def maps(num_classes=10, in_channels=3, width=4):
    """Maps of logits of half the size."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, 2, 1), nn.GroupNorm(2, width), nn.ReLU(), nn.Conv2d(width, num_classes, 1)
    )
