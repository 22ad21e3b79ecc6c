"""How much of a network's arithmetic is of a kind that bfloat16 slows down on a CPU."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from limbeck.models.calling import call_network


@torch.no_grad()
def depthwise_share(network: nn.Module, example: Any) -> float:
    """Compute the share of depthwise convolutions in a network's multiply-adds.

    Convolutions and linear layers are counted, in one forward pass; attention and whatever else a network computes
    without such layers is not. The network stays as it is.

    Args:
        network: The network.
        example: Inputs of a few samples, whose values do not matter, such as (2, channels, H, W) zeros.

    Returns:
        A number within 0 and 1, the same on any machine; 0 without convolutions.

    Example:
        >>> depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        >>> pointwise = nn.Conv2d(8, 8, 1)
        >>> depthwise_share(nn.Sequential(depthwise, pointwise), torch.zeros(1, 8, 4, 4))  # 9 / (9 + 8)
        0.5294117647058824
    """
    products = {True: 0, False: 0}

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        depthwise = isinstance(layer, _ConvNd) and layer.groups > 1 and weight.shape[1] == 1
        products[depthwise] += output.numel() * weight[0].numel()

    # A copy, so that no mode, hook or statistic of the network itself is touched.
    trial = copy.deepcopy(network).eval()
    for layer in trial.modules():
        if isinstance(layer, _ConvNd | nn.Linear):
            layer.register_forward_hook(count)
    call_network(trial, example)
    return products[True] / max(1, sum(products.values()))
