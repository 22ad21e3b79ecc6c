"""Layers that a training leaves as they are."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from limbeck.errors import UserError, unknown_name


def freeze(model: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Take parameters out of the training: those of layers by name, or by a pattern with ``*``.

    Args:
        model: The model, changed in place.
        names: Names of layers or parameters, such as ``"layer1"``, each with all that it holds; or patterns of such
            names, such as ``"features.[0-4]"`` or ``"layer[12]*"``.

    Returns:
        The names of the frozen parameters.

    Raises:
        UserError: If a name matches nothing, or holds no parameters, or nothing would be left to train.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
        >>> freeze(net, ["0"])
        ('0.weight', '0.bias')
        >>> freeze(net, ["7"])
        Traceback (most recent call last):
        limbeck.errors.UserError: unknown layer '7'. Valid: 0, 1, 2
    """
    parameters = dict(model.named_parameters())
    layers = [name for name, _ in model.named_modules() if name]
    frozen = dict.fromkeys(path for name in names for path in _matches(name, layers, parameters))
    if len(frozen) == len(parameters):
        raise UserError(f"freeze: got {', '.join(names)}, which leaves nothing to train, expected fewer layers")
    for name in frozen:
        parameters[name].requires_grad_(False)
    return tuple(frozen)


def _matches(name: str, layers: Sequence[str], parameters: Iterable[str]) -> list[str]:
    prefixes = [f"{path}." for path in (*layers, *parameters) if path == name or fnmatchcase(path, name)]
    if not prefixes:
        raise unknown_name("layer", name, layers, limit=10)
    matches = [path for path in parameters if f"{path}.".startswith(tuple(prefixes))]
    if not matches:
        raise UserError(f"freeze: {name!r} holds no parameters, expected a layer that does")
    return matches


def hold_frozen_norms(model: nn.Module) -> None:
    """Put the batch norms of frozen layers into eval mode, after ``model.train()``: their statistics stay, too.

    A layer is frozen if it has parameters and none of them is trained.

    Args:
        model: The model, changed in place.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
        >>> _ = freeze(net, ["0", "1"])
        >>> hold_frozen_norms(net.train())
        >>> net[1].training, net[2].training
        (False, True)
    """
    parameters = list(model.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        for layer in model.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()
        return
    for child in model.children():
        hold_frozen_norms(child)
