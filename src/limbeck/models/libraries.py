"""Models of timm and torchvision, by name."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from limbeck.errors import UserError, one_line, shortened, unknown_name
from limbeck.models.options import build, check_options, keyword_defaults
from limbeck.models.weights import load_body_tensors
from limbeck.reporting import Log, no_log

# The auxiliary classifiers make the training output a tuple, and a model here returns logits; init_weights=True is what
# torchvision does anyway, but with a warning.
_INCEPTIONS: Mapping[str, object] = MappingProxyType({"aux_logits": False, "init_weights": True})
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
# torchvision's MobileNetV3 takes these two out of its keyword arguments before any signature names them.
_READ_BY_MOBILENET = ("dilated", "reduced_tail")
# Their classes count the background as class 0.
_WITH_BACKGROUND = "torchvision.models.detection"
_IMAGE_MODULES = ("torchvision.models", "torchvision.models.segmentation")
# What timm's create_model would read from a place of the recipe's choice; its own reader runs a pickle's code.
_TIMM_FILES = ("checkpoint_path", "cache_dir", "model_name")
_TIMM_CONFIGURATION = ("pretrained_cfg", "pretrained_cfg_overlay")
_TIMM_NUMBERS = frozenset(
    ("input_size", "fixed_input_size", "pool_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")
)
_INSTEAD = "expected a file or the name of weights as teacher.weights or student.weights (in Python weights=)"


def timm_model(
    name: str, *, num_classes: int, in_channels: int, options: Mapping[str, object], log: Log = no_log
) -> nn.Module:
    """Build a model of timm.

    Args:
        name: A name of ``timm.create_model``, with or without a pretrained tag.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        options: Further arguments of ``timm.create_model``, such as ``drop_rate=0.1``; ``pretrained`` is True,
            ``DEFAULT`` or the tag of the weights.
        log: Called with a line where pretrained weights leave the classifier new.

    Returns:
        The model.

    Raises:
        UserError: If timm has no such model or weights, cannot build it with these options, or an option would load a
            file.

    Example:
        >>> timm_model("test_resnet", num_classes=5, in_channels=1, options={}).num_classes
        5
    """
    import timm

    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    label, home = f"timm:{name}", timm.model_entrypoint(name).__module__
    _check_timm_options(label, options)
    arguments = {"num_classes": num_classes, "in_chans": in_channels, **options}
    pretrained = arguments.pop("pretrained", False)
    full = f"{name}.{pretrained}" if isinstance(pretrained, str) and pretrained != "DEFAULT" else name
    if pretrained and not timm.is_model_pretrained(full):
        tags = [entry.partition(".")[2] for entry in timm.list_pretrained(f"{name.partition('.')[0]}.*")]
        raise unknown_name(f"weights of {label}", pretrained, tags)
    model = build(label, timm.create_model, home, {"model_name": full, "pretrained": bool(pretrained), **arguments})
    configuration: Any = model.pretrained_cfg
    if pretrained and configuration.get("num_classes") != num_classes:
        log(f"{label}: pretrained body; the classifier is new, for {num_classes} classes")
    return model


def _check_timm_options(label: str, options: Mapping[str, object]) -> None:
    for option in options:
        if option in _TIMM_FILES:
            raise UserError(f"model {label!r}: option {option!r} is not accepted, {_INSTEAD}")
        if option in _TIMM_CONFIGURATION:
            _check_configuration(label, option, options[option])


def _check_configuration(label: str, option: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise UserError(f"model {label!r}: option {option!r} got {shortened(value)}, expected keys; {_INSTEAD}")
    for key in value:
        if key not in _TIMM_NUMBERS:
            got = f"option {option!r} with the key {shortened(key)}"
            raise UserError(f"model {label!r}: {got} is not accepted, {_INSTEAD}")


def torchvision_model(
    name: str, *, num_classes: int, in_channels: int, options: Mapping[str, object], log: Log = no_log
) -> nn.Module:
    """Build a model of torchvision, with random weights unless ``pretrained`` is given.

    Args:
        name: A name of ``torchvision.models.list_models()``.
        num_classes: Number of logits; a classifier's pretrained weights of another number leave its head new. That of a
            detector is without the background, which it has beside them.
        in_channels: Channels of the images. Other than 3 is possible for the image classifiers and segmentation
            networks: the first convolution is rebuilt so that a gray image counts as its three equal channels did.
        options: Further arguments of the model's class; ``pretrained`` is True, ``DEFAULT`` or the name of the weights.
        log: Called with a line where pretrained weights leave the head new.

    Returns:
        The model; the maps of a segmentation network are those of its heads, not enlarged to the image's size.

    Raises:
        UserError: If torchvision has no such model or weights, cannot build it with these options, an option would load
            a file, or it takes only 3 channels.

    Example:
        >>> torchvision_model("squeezenet1_1", num_classes=5, in_channels=1, options={}).features[0].in_channels
        1
    """
    from torchvision import models

    if name not in models.list_models():
        raise unknown_name("torchvision model", name, models.list_models())
    label, builder = f"torchvision:{name}", models.get_model_builder(name)
    home = builder.__module__.rpartition(".")[0]
    if in_channels != 3 and home not in _IMAGE_MODULES:
        raise UserError(f"model {label!r} takes 3 channels, got in_channels={in_channels}")
    for option in ("weights", "weights_backbone"):
        if option in options:
            raise UserError(f"model {label!r}: option {option!r} is not accepted, {_INSTEAD}")
    weights = _torchvision_weights(name, options.get("pretrained"))
    arguments = _torchvision_arguments(name, dict(options), "weights_backbone" in inspect.signature(builder).parameters)
    in_place = weights is not None and home != _IMAGE_MODULES[0]
    arguments["weights"] = weights if in_place else None
    columns = num_classes + (home == _WITH_BACKGROUND)
    model = build(label, builder, builder.__module__, {"num_classes": columns, **arguments})
    _check_swallowed(label, builder, model, options)
    if weights is not None and not in_place:
        tensors = _downloaded(label, weights)
        for line in load_body_tensors(model, tensors, f"{label} {weights}", num_classes=num_classes):
            log(line)
    if home == _IMAGE_MODULES[1]:
        from limbeck.models.torchvision_maps import with_small_maps

        model = with_small_maps(model)
    if in_channels != 3:
        _adapt_first_convolution(model, in_channels, label)
    return model


def _torchvision_weights(name: str, pretrained: object) -> Any:
    from torchvision import models

    if not pretrained:
        return None
    members = models.get_model_weights(name).__members__
    chosen = "DEFAULT" if pretrained is True else str(pretrained)
    if chosen not in members:
        raise unknown_name(f"weights of torchvision:{name}", chosen, members)
    return members[chosen]


def recorded_outputs(source: str, name: str, weights: object) -> int | None:
    """Return the number of logits that pretrained weights were trained for; None if it is not known.

    Args:
        source: ``"timm"`` or ``"torchvision"``.
        name: The library's name of the model.
        weights: The library's name of the weights, ``DEFAULT`` or True.

    Example:
        >>> recorded_outputs("torchvision", "fcn_resnet50", "DEFAULT"), recorded_outputs("timm", "resnet18", True)
        (21, 1000)
    """
    from torchvision import models

    if source == "torchvision":
        known = models.get_model_weights(name).__members__ if name in models.list_models() else {}
        chosen = known.get("DEFAULT" if weights is True else str(weights))
        return None if chosen is None else len(chosen.meta["categories"])
    import timm

    full = f"{name}.{weights}" if isinstance(weights, str) and weights != "DEFAULT" else name
    configuration = timm.get_pretrained_cfg(full) if timm.is_model(name) else None
    return getattr(configuration, "num_classes", None)


def _downloaded(label: str, weights: Any) -> Mapping[str, Tensor]:
    """Return pretrained weights, which torch keeps under ``$TORCH_HOME``; their file runs no code."""
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # a failed download or a damaged file raises no common type
        raise UserError(f"model {label!r}: {weights} cannot be loaded: {one_line(error)}") from error
    # The auxiliary classifiers are left out of the models, too.
    return {key: value for key, value in state.items() if not key.startswith(_AUXILIARY)}


def _torchvision_arguments(name: str, options: dict[str, object], has_backbone: bool) -> dict[str, object]:
    pretrained = bool(options.pop("pretrained", False))
    arguments: dict[str, object] = {}
    if has_backbone:
        # Left alone, torchvision downloads the backbone even for weights=None.
        arguments["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        # What torchvision sets beside its weights, which were trained on inputs in [-1, 1].
        arguments |= {**_INCEPTIONS, "transform_input": True} if pretrained else _INCEPTIONS
    return arguments | options


def _check_swallowed(
    label: str, builder: Callable[..., nn.Module], model: nn.Module, options: Mapping[str, object]
) -> None:
    """Refuse the options that a class with ``**kwargs``, such as MobileNetV3 or SSD, took without an error."""
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
