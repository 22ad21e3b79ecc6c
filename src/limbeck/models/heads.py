"""The last layer of a classifier."""

from typing import TypeVar

from torch import nn

from limbeck.errors import UserError

Layer = TypeVar("Layer", bound=nn.Linear | nn.Conv2d)


def head(model: nn.Module, num_classes: int) -> nn.Linear:
    """Find the linear layer that makes a model's logits.

    Args:
        model: Any classifier. What timm's ``get_classifier`` returns is taken where it fits; else the last
            ``nn.Linear`` with ``num_classes`` outputs, in the order in which the model registered its layers.
        num_classes: Number of logits.

    Returns:
        The layer itself, not a copy.

    Raises:
        UserError: If there is no such layer.

    Example:
        >>> head(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), 3)
        Linear(in_features=8, out_features=3, bias=True)
    """
    found = _find(model, num_classes, nn.Linear)
    if found is None:
        raise UserError(
            f"{type(model).__name__}: no nn.Linear with {num_classes} outputs found, expected one as the last layer"
        )
    return found[1]


def head_name(model: nn.Module, num_classes: int) -> str:
    """Name the layer that makes a model's logits, a linear one or a convolution.

    Args:
        model: Any classifier; what timm's ``get_classifier`` returns is taken where it fits, else the last such layer.
        num_classes: Number of logits.

    Returns:
        Its name among ``model.named_modules()``.

    Raises:
        UserError: If there is no such layer.

    Example:
        >>> head_name(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), 3)
        '2'
    """
    found = _find(model, num_classes, nn.Linear, nn.Conv2d)
    if found is None:
        raise UserError(f"{type(model).__name__}: no layer with {num_classes} outputs found, expected one as the last")
    return found[0]


def _find(model: nn.Module, num_classes: int, *kinds: type[Layer]) -> tuple[str, Layer] | None:
    get_classifier = getattr(model, "get_classifier", None)
    classifier = get_classifier() if callable(get_classifier) else None
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, kinds)]
    fitting = [(name, layer) for name, layer in layers if _outputs(layer) == num_classes]
    return next((found for found in fitting if found[1] is classifier), fitting[-1] if fitting else None)


def _outputs(layer: nn.Linear | nn.Conv2d) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
