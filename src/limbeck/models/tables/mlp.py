"""A multi-layer perceptron for rows of numbers."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from torch import nn

from limbeck.errors import UserError, shortened, unknown_name

Normalization = Literal["batch", "layer", "none"]
_NORMALIZATIONS: Mapping[str, Callable[[int], list[nn.Module]]] = MappingProxyType(
    {
        "batch": lambda width: [nn.BatchNorm1d(width)],
        "layer": lambda width: [nn.LayerNorm(width)],
        "none": lambda width: [],  # noqa: ARG005 - called as the others are
    }
)


def mlp(
    num_classes: int,
    in_features: int,
    *,
    hidden: int | Sequence[int] = (64, 64),
    dropout: float = 0.0,
    normalization: Normalization = "batch",
) -> nn.Sequential:
    """Build a multi-layer perceptron: for each width a linear layer, a normalization, ReLU and dropout.

    Args:
        num_classes: Number of logits.
        in_features: Numbers of a sample; one of several dimensions is flattened first.
        hidden: Widths of the hidden layers; none for a linear classifier.
        dropout: Share of the hidden numbers that are set to zero in training, in [0, 1).
        normalization: ``"batch"``, ``"layer"`` or ``"none"``.

    Returns:
        The network, from (N, in_features) to (N, num_classes).

    Raises:
        UserError: If a setting is out of range.

    Example:
        >>> import torch
        >>> mlp(3, 4, hidden=8)(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
        >>> mlp(3, 4, hidden=[])
        Sequential(
          (flatten): Flatten(start_dim=1, end_dim=-1)
          (fc): Linear(in_features=4, out_features=3, bias=True)
        )
    """
    widths = checked_widths("hidden", [hidden] if isinstance(hidden, int) else hidden)
    if normalization not in _NORMALIZATIONS:
        raise unknown_name("normalization", normalization, _NORMALIZATIONS)
    check_dropout(dropout)
    network = nn.Sequential()
    network.add_module("flatten", nn.Flatten())
    for number, (width_in, width) in enumerate(zip((in_features, *widths), widths, strict=False)):
        parts = [nn.Linear(width_in, width), *_NORMALIZATIONS[normalization](width), nn.ReLU()]
        network.add_module(f"layer{number + 1}", nn.Sequential(*parts, *([nn.Dropout(dropout)] if dropout else [])))
    network.add_module("fc", nn.Linear((in_features, *widths)[-1], num_classes))
    return network


def checked_widths(name: str, widths: Sequence[int]) -> tuple[int, ...]:
    """Return widths of layers as a tuple.

    Raises:
        UserError: If one is no whole number of at least 1.

    Example:
        >>> checked_widths("hidden", [64, 32])
        (64, 32)
    """
    is_list = isinstance(widths, Sequence) and not isinstance(widths, str)
    if not is_list or any(isinstance(w, bool) or not isinstance(w, int) or w < 1 for w in widths):
        raise UserError(f"{name}: got {shortened(widths)}, expected whole numbers of at least 1")
    return tuple(widths)


def check_dropout(dropout: float) -> None:
    """Raise ``UserError`` unless a share to drop is in [0, 1).

    Example:
        >>> check_dropout(1.5)
        Traceback (most recent call last):
        limbeck.errors.UserError: dropout: got 1.5, expected a share of at least 0 and below 1
    """
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise UserError(f"dropout: got {shortened(dropout)}, expected a share of at least 0 and below 1")
