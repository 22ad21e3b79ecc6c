"""Models of timm and torchvision, by name."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from limbeck.errors import UserError, unknown_name
from limbeck.models.options import build, check_options, keyword_defaults

# The auxiliary classifiers make the training output a tuple, and a model here answers with logits; init_weights=True is
# what torchvision does anyway, but with a warning.
_INCEPTIONS: Mapping[str, object] = MappingProxyType({"aux_logits": False, "init_weights": True})
# torchvision's MobileNetV3 takes these two out of its keyword arguments before any signature names them.
_READ_BY_MOBILENET = ("dilated", "reduced_tail")
_IMAGE_MODULES = ("torchvision.models", "torchvision.models.segmentation")


def timm_model(name: str, *, num_classes: int, in_channels: int, options: Mapping[str, object]) -> nn.Module:
    """Build a model of timm.

    Args:
        name: A name that ``timm.create_model`` knows, with or without a pretrained tag.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        options: Further arguments of ``timm.create_model``, such as ``pretrained=True`` or ``drop_rate=0.1``.

    Returns:
        The model.

    Raises:
        UserError: If timm has no such model, or cannot build it with these options.

    Example:
        >>> timm_model("test_resnet", num_classes=5, in_channels=1, options={}).num_classes
        5
    """
    import timm

    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    home = timm.model_entrypoint(name).__module__
    arguments = {"model_name": name, "num_classes": num_classes, "in_chans": in_channels, **options}
    return build(f"timm:{name}", timm.create_model, home, arguments)


def torchvision_model(name: str, *, num_classes: int, in_channels: int, options: Mapping[str, object]) -> nn.Module:
    """Build a model of torchvision, with random weights unless ``pretrained=True``.

    Args:
        name: A name of ``torchvision.models.list_models()``.
        num_classes: Number of logits; pretrained weights fix it (1000 for ImageNet's).
        in_channels: Channels of the images. Other than 3 is possible for the image classifiers and segmentation
            networks: the first convolution is rebuilt so that a grey image counts as its three equal channels did.
        options: Further arguments of the model's class, and ``pretrained``.

    Returns:
        The model.

    Raises:
        UserError: If torchvision has no such model, cannot build it with these options, or it takes only 3 channels.

    Example:
        >>> torchvision_model("squeezenet1_1", num_classes=5, in_channels=1, options={}).features[0].in_channels
        1
    """
    from torchvision import models

    if name not in models.list_models():
        raise unknown_name("torchvision model", name, models.list_models())
    label, builder = f"torchvision:{name}", models.get_model_builder(name)
    if in_channels != 3 and builder.__module__.rpartition(".")[0] not in _IMAGE_MODULES:
        raise UserError(f"model {label!r} takes 3 channels, got in_channels={in_channels}")
    arguments = _torchvision_arguments(name, dict(options), "weights_backbone" in inspect.signature(builder).parameters)
    model = build(label, builder, builder.__module__, {"num_classes": num_classes, **arguments})
    _check_swallowed(label, builder, model, options)
    if in_channels != 3:
        _adapt_first_convolution(model, in_channels, label)
    return model


def _torchvision_arguments(name: str, options: dict[str, object], has_backbone: bool) -> dict[str, object]:
    pretrained = bool(options.pop("pretrained", False))
    arguments: dict[str, object] = {"weights": "DEFAULT" if pretrained else None}
    if has_backbone:
        # Left alone, torchvision downloads the backbone even for weights=None.
        arguments["weights_backbone"] = None
    if name in ("googlenet", "inception_v3") and not pretrained:
        arguments |= _INCEPTIONS
    return arguments | options


def _check_swallowed(
    label: str, builder: Callable[..., nn.Module], model: nn.Module, options: Mapping[str, object]
) -> None:
    """Refuse the options that a class with ``**kwargs`` of its own, such as MobileNetV3 or SSD, took without a word."""
    from torchvision.models import MobileNetV3

    parameters = inspect.signature(type(model)).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        transform = type(getattr(model, "transform", model))
        readers: list[Callable[..., Any]] = [builder, *type(model).__mro__[:2], transform]
        accepted = {option for reader in readers for option in keyword_defaults(reader)} - {"weights", "num_classes"}
        unnamed = _READ_BY_MOBILENET if isinstance(model, MobileNetV3) else ()
        check_options(label, options, accepted | {"pretrained", *unnamed})


def _adapt_first_convolution(model: nn.Module, in_channels: int, label: str) -> None:
    from timm.models import adapt_input_conv

    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or first.in_channels != 3 or first.groups != 1:
        raise UserError(f"model {label!r} takes 3 channels, got in_channels={in_channels}")
    first.weight = nn.Parameter(adapt_input_conv(in_channels, first.weight.detach()))
    first.in_channels = in_channels
