"""The last layer of a classifier."""

from torch import nn

from limbeck.errors import UserError


def head(model: nn.Module, num_classes: int) -> nn.Linear:
    """Find the linear layer that makes a model's logits.

    Args:
        model: Any classifier. The answer of timm's ``get_classifier`` is taken where it fits; else the last
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
    get_classifier = getattr(model, "get_classifier", None)
    candidates = [*model.modules(), get_classifier() if callable(get_classifier) else None]
    fitting = [m for m in candidates if isinstance(m, nn.Linear) and m.out_features == num_classes]
    if not fitting:
        raise UserError(
            f"{type(model).__name__}: no nn.Linear with {num_classes} outputs found, expected one as the last layer"
        )
    return fitting[-1]


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
    get_classifier = getattr(model, "get_classifier", None)
    wanted = get_classifier() if callable(get_classifier) else None
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    fitting = [(name, layer) for name, layer in layers if layer.weight.shape[0] == num_classes]
    if not fitting:
        raise UserError(f"{type(model).__name__}: no layer with {num_classes} outputs found, expected one as the last")
    named: list[str] = [name for name, layer in fitting if layer is wanted]
    return named[0] if named else fitting[-1][0]
