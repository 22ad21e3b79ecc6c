"""The levels of a feature pyramid, by the names of the layers that make them."""

from collections.abc import Mapping

from torch import nn

_EXTRA = ("p6", "p7")


def pyramid_layers(modules: Mapping[str, nn.Module]) -> list[str]:
    """List the layers whose outputs are the levels of a network's first pyramid of torchvision, the largest map first.

    Args:
        modules: The network's modules by name.

    Returns:
        Their names; none if the network has no such pyramid.

    Example:
        >>> from limbeck import models
        >>> pyramid_layers(dict(models.create("small_detector", num_classes=3).named_modules()))[0]
        'backbone.fpn.layer_blocks.0'
    """
    pyramid = next((name for name, module in modules.items() if _is_pyramid(module)), None)
    if pyramid is None:
        return []
    levels = [name for name in modules if name.rpartition(".")[0] == f"{pyramid}.layer_blocks"]
    return levels + [name for extra in _EXTRA if (name := f"{pyramid}.extra_blocks.{extra}") in modules]


def _is_pyramid(module: nn.Module) -> bool:
    # By name, so that torchvision is loaded only for networks that need it.
    return any(kind.__name__ == "FeaturePyramidNetwork" for kind in type(module).__mro__)
