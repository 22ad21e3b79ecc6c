"""One call that builds any model by name."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from torch import nn

from limbeck.errors import UserError, shortened, unknown_name
from limbeck.models.estimators.by_name import estimator_network
from limbeck.models.estimators.network import EstimatorNetwork
from limbeck.models.libraries import timm_model, torchvision_model
from limbeck.models.options import check_options, keyword_defaults
from limbeck.models.others import OTHERS
from limbeck.models.python_source import call_builder, model_builder
from limbeck.models.text.hugging_face import transformers_model
from limbeck.models.weights import load_weights
from limbeck.models.zoo import ZOO
from limbeck.registry import Registry
from limbeck.reporting import Log, no_log

REGISTRY: Registry[Callable[..., nn.Module]] = Registry(
    "model",
    "limbeck.models",
    lambda: {**ZOO, **OTHERS},
    model_builder,
    normalize=str.lower,
    forms=(
        "timm:NAME",
        "torchvision:NAME",
        "transformers:NAME_OR_FOLDER",
        "sklearn:CLASS",
        "python:MODULE:FUNCTION",
    ),
)
"""The models by name: the zoo, those of plug-ins, and those that :func:`register` added in this process."""
_IMAGE_LIBRARIES: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"timm": timm_model, "torchvision": torchvision_model}
)


def names() -> tuple[str, ...]:
    """List the names of the zoo, in lower case, and of what plug-ins and :func:`register` added.

    Example:
        >>> "resnet8x4" in names()
        True
    """
    return REGISTRY.names()


def register(name: str, factory: Callable[..., nn.Module], *, replace: bool = False) -> None:
    """Add a model under a name, for :func:`create` and recipes.

    An installed package adds one without this call, by an entry point of the group ``limbeck.models``.

    Args:
        name: The name, which is found in any case.
        factory: A function or a class of ``nn.Module``, called with a recipe's ``options``, and with ``num_classes``
            and the facts of its data, such as ``in_channels`` of images, as far as its signature takes them.
        replace: Whether it may take the place of another model.

    Raises:
        UserError: If the name is malformed or taken, or the factory is neither.

    Example:
        >>> def two_layers(num_classes, in_channels, hidden=8):
        ...     return nn.Sequential(nn.Flatten(), nn.LazyLinear(hidden), nn.ReLU(), nn.Linear(hidden, num_classes))
        >>> register("two_layers", two_layers)
        >>> create("two_layers", num_classes=10, hidden=4)[3]
        Linear(in_features=4, out_features=10, bias=True)
        >>> REGISTRY.unregister("two_layers")
    """
    REGISTRY.register(name, model_builder(name, factory), replace=replace)


def create(
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    facts: Mapping[str, object] | None = None,
    weights: str | Path | None = None,
    log: Log = no_log,
    **options: object,
) -> nn.Module:
    """Build a model by name, with random weights unless others are given.

    Args:
        name: One of :func:`names` in any case, ``timm:NAME``, ``torchvision:NAME``, ``transformers:NAME_OR_FOLDER``,
            ``sklearn:CLASS`` for a classifier of scikit-learn (see
            :class:`limbeck.models.estimators.EstimatorNetwork`), or ``python:MODULE:FUNCTION``.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        facts: For inputs other than images, in place of ``in_channels``: what :attr:`limbeck.data.Data.facts` holds, of
            which a model is given what its signature takes.
        weights: File for `limbeck.models.load_weights`; for timm and torchvision also the name of their own weights,
            such as ``"DEFAULT"`` or ``"IMAGENET1K_V1"``, whose head is new for another number of classes.
        log: Called with lines about the weights, such as which tensors are new.
        **options: Further arguments of the model: ``width`` for the zoo's resnets and MobileNetV2, ``dropout`` for
            its WRNs, ``pretrained`` for timm and torchvision, and whatever else the model's own constructor takes.

    Returns:
        The model, in training mode unless a ``python:`` function chose otherwise, mapping (N, in_channels, H, W) to
        (N, num_classes); those for texts take ``input_ids`` and ``attention_mask``, int64 (N, L).

    Raises:
        UserError: If the name, a number, an option or the weights cannot be used.

    Example:
        >>> import torch
        >>> net = create("resnet8x4", num_classes=100)
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 100])
    """
    for argument, count in (("num_classes", num_classes), ("in_channels", in_channels)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            got = f"{argument}: got {shortened(count)}"
            raise UserError(f"model {shortened(name)}: {got}, expected a whole number of at least 1")
    facts = {"in_channels": in_channels} if facts is None else facts
    if weights is not None and named_weights(name, weights):
        return _build(name, num_classes, facts, {**options, "pretrained": str(weights)}, log)
    if weights is not None and name.startswith("transformers:"):
        options = {"pretrained": False, **options}
    model = _build(name, num_classes, facts, options, log)
    if weights is not None and isinstance(model, EstimatorNetwork):
        model.load(weights, name=name)
    elif weights is not None:
        for line in load_weights(model, weights, name=name):
            log(line)
    return model


def named_weights(name: str, weights: str | Path) -> bool:
    """Return whether weights are a name that timm or torchvision gives them, not a file.

    Args:
        name: The model's name.
        weights: A name or a path.

    Example:
        >>> named_weights("torchvision:resnet18", "DEFAULT"), named_weights("resnet8", "DEFAULT")
        (True, False)
    """
    library = name.startswith(("timm:", "torchvision:", "transformers:"))
    return library and re.fullmatch(r"\w+", str(weights)) is not None and not Path(weights).exists()


def _build(
    name: str, num_classes: int, facts: Mapping[str, object], options: Mapping[str, object], log: Log
) -> nn.Module:
    source, colon, rest = name.partition(":")
    if not colon or source == "python":
        return _registered(name, num_classes, facts, options)
    if source == "transformers":
        return transformers_model(rest, num_classes=num_classes, facts=facts, options=options, log=log)
    if source == "sklearn":
        return estimator_network(rest, num_classes=num_classes, options=options)
    if source not in _IMAGE_LIBRARIES:
        raise unknown_name("model source", source, ["python", "sklearn", "transformers", *_IMAGE_LIBRARIES])
    channels = _channels(name, facts)
    return _IMAGE_LIBRARIES[source](rest, num_classes=num_classes, in_channels=channels, options=options, log=log)


def _registered(name: str, num_classes: int, facts: Mapping[str, object], options: Mapping[str, object]) -> nn.Module:
    builder, zoo = REGISTRY.get(name), ZOO.get(name.lower())
    if zoo is None or builder is not zoo:
        return call_builder(shortened(name, quoted=False), builder, {"num_classes": num_classes, **facts}, options)
    check_options(name, options, set(keyword_defaults(zoo)) - {*zoo.keywords, "in_channels"})
    return zoo(num_classes=num_classes, in_channels=_channels(name, facts), **options)


def _channels(name: str, facts: Mapping[str, object]) -> int:
    channels = facts.get("in_channels")
    if not isinstance(channels, int):
        others = ", ".join(OTHERS) or "none"
        raise UserError(f"model {shortened(name)}: is for images, expected one for these inputs (of limbeck: {others})")
    return channels
