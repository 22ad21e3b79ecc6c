"""Features of a network: the outputs of its layers beside its own, from the same forward pass."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limbeck.errors import UserError, first_line
from limbeck.models.calling import call_network
from limbeck.models.pyramids import pyramid_layers
from limbeck.models.recording import Kept, Outputs, Recorder
from limbeck.models.tracing import modes_kept, traced

Features = tuple[Any, list[Tensor]]
_LISTED = 12
# Where torch.compile, FSDP, activation checkpoints and Lightning Fabric keep the network that they wrap.
_WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_original_module")


def feature_layers(network: nn.Module) -> list[str]:
    """List the layers whose output can be extracted.

    Args:
        network: A network; ``torch.compile``, DistributedDataParallel and their like around it do not matter.

    Returns:
        Names of modules, as in ``network.named_modules()``: those nearest to the top first (and there those made of
        other modules before single layers).

    Example:
        >>> from limbeck import models
        >>> feature_layers(models.create("resnet8", num_classes=10))[:4]
        ['layer1', 'layer2', 'layer3', 'conv1']
    """
    modules = _layers(network)
    return sorted(modules, key=lambda name: (name.count("."), not any(modules[name].children())))


def _unwrapped(network: nn.Module) -> nn.Module:
    parts = dict(network.named_children())
    # DistributedDataParallel and its like have the network as their only part.
    wrapped = "module" if set(parts) == {"module"} else next((name for name in _WRAPPED if name in parts), None)
    return network if wrapped is None else _unwrapped(parts[wrapped])


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    for path, module in _unwrapped(network).named_modules():
        name = ".".join(part for part in path.split(".") if part not in _WRAPPED)
        # A list of modules is none that is called.
        if name and type(module).forward is not nn.Module.forward:
            layers.setdefault(name, module)
    return layers


def _is_compiled(network: nn.Module) -> bool:
    modules = list(network.named_modules())
    return any(module._compiled_call_impl is not None or "_orig_mod" in name.split(".") for name, module in modules)


def stage_layers(network: nn.Module, inputs: Any) -> list[str]:
    """Suggest layers to compare: the last one of every size of map, and the last one that returns tokens.

    Modules made of others come before single layers, and of two that end in the same place the outer one is named:
    the stages of a ResNet, a VGG or a MobileNet. Of a network with a feature pyramid of torchvision its levels are
    named, without one that is pooled from another.

    Args:
        network: A network; it is run once, in eval mode, without a graph.
        inputs: A batch for it: a tensor, a mapping of its arguments, or whatever else it takes.

    Returns:
        Names in the order of the forward pass; empty if the network makes no maps.

    Raises:
        UserError: If the network cannot be run on ``inputs``.

    Example:
        >>> from limbeck import models
        >>> stage_layers(models.create("vgg8", num_classes=10), torch.zeros(1, 3, 32, 32))
        ['block0', 'block1', 'block2', 'block4']
    """
    if pyramid := pyramid_layers(_layers(network)):
        return pyramid
    modules = {name: module for name, module in _layers(network).items() if name.count(".") <= 1}
    modules = {name: module for name, module in modules.items() if any(module.children())} or modules
    outputs: Outputs = _once(network, partial(Recorder(modules).run, network), inputs)
    last: dict[tuple[int, ...], str] = {}
    for name, entry in outputs.items():
        feature = entry.value()
        if not _is_batch(feature) or feature.ndim == 2:
            continue
        size = tuple(feature.shape[2:]) if feature.ndim == 4 else ()
        if size == (1, 1) and not any(True for _ in modules[name].parameters()):
            continue  # the pooling at the end is no stage
        # Put behind the sizes so far, as a size may come back.
        last.pop(size, None)
        last[size] = name
    return list(last.values())


def probe(extractor: "FeatureExtractor", inputs: Any) -> list[tuple[int, ...]]:
    """Run an extractor once for the shapes of its features; statistics and random numbers stay as they were.

    Args:
        extractor: The extractor.
        inputs: A batch; it is brought to the network's device and type.

    Returns:
        The shape of each feature, without the batch dimension.

    Raises:
        UserError: If the network cannot take the inputs, or a layer is not run or returns no batch of numbers.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> probe(FeatureExtractor(network, ["1"]), torch.zeros(3, 4))
        [(8,)]
    """
    features = _once(extractor.network, extractor, inputs)
    for layer, feature in zip(extractor.layers, features, strict=True):
        if not _is_batch(feature):
            expected = "expected a batch of floats such as (N, channels, H, W)"
            raise UserError(f"layer {layer!r}: returns {tuple(feature.shape)} {feature.dtype}, {expected}")
    return [tuple(feature.shape[1:]) for feature in features]


def _is_batch(feature: object) -> bool:
    return isinstance(feature, Tensor) and feature.is_floating_point() and 2 <= feature.ndim <= 4


def _once(network: nn.Module, run: Callable[..., tuple[Any, Any]], inputs: Any) -> Any:
    """Run the network in eval mode, as ``run`` does, and return what there is beside its output."""
    parameter = next(network.parameters(), None)
    cuda = [parameter.device] if parameter is not None and parameter.device.type == "cuda" else []
    # A run for the shapes is no reason to compile.
    eager = torch.compiler.set_stance("force_eager") if _is_compiled(network) else nullcontext()
    with modes_kept(network), torch.random.fork_rng(cuda), torch.no_grad(), eager:
        network.eval()
        try:
            if parameter is not None:
                inputs = pytree.tree_map_only(Tensor, partial(_placed, parameter=parameter), inputs)
            return call_network(run, inputs)[1]
        except UserError:
            raise
        except Exception as error:
            name = type(_unwrapped(network)).__name__
            raise UserError(f"example: {name} cannot take it ({first_line(error)})") from error


def _placed(part: Tensor, parameter: Tensor) -> Tensor:
    return part.to(parameter.device, parameter.dtype if part.is_floating_point() else part.dtype)


class FeatureExtractor(nn.Module):
    """Run a network once for its output and the outputs of some of its layers.

    The network itself runs, with forward hooks on the layers: it may be compiled, distributed, or one with a mapping
    of arguments and outputs. A feature is the first tensor of the layer's output, as it is when the layer ends, even
    if the network overwrites it in place later; of a layer that is run more than once the last run counts. Threads
    may share an extractor, unless the network is compiled.

    A layer may also be the name of a single operation that is no module, as torchvision names them, such as
    ``"layer1.0.add"``. Only then the network is traced by ``torch.fx``, and its graph runs instead of the forward pass
    (one for train and one for eval mode, with the network's own parameters, buffers and leaf modules): its control
    flow must not depend on the input, its only argument is a tensor, and hooks of modules made of others do not fire.

    Args:
        network: The network.
        layers: Names of modules, as :func:`feature_layers` lists them, or of operations.

    Raises:
        UserError: If a layer is unknown.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))
        >>> logits, (hidden,) = FeatureExtractor(net, ["0"])(torch.randn(3, 4))
        >>> logits.shape, hidden.shape, bool((hidden < 0).any())
        (torch.Size([3, 2]), torch.Size([3, 8]), True)
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        if isinstance(layers, str) or not layers or not all(isinstance(layer, str) for layer in layers):
            raise UserError(f"layers: got {layers!r}, expected a list of at least one layer's name")
        self.network, self.layers = network, tuple(layers)
        modules = _layers(network)
        self._graphs = self._traced()
        self._recorder = Recorder({} if self._graphs else {layer: modules[layer] for layer in layers})
        if _is_compiled(network):
            # What was compiled before runs without the hooks.
            torch.compiler.reset()

    def _traced(self) -> dict[bool, Callable[..., tuple[Any, list[Kept]]]]:
        """Make the graphs' functions for train and eval mode, if a layer is no module."""
        modules = _layers(self.network)
        operations = [layer for layer in self.layers if layer not in modules]
        if not operations:
            return {}
        try:
            return {training: traced(self.network, self.layers, training=training) for training in (False, True)}
        except KeyError as error:
            raise UserError(_unknown(error.args[0].removeprefix("network."), self.network)) from error
        except UserError as error:
            raise UserError(f"{_unknown(operations[0], self.network)}, or an operation, but {error}") from error

    def forward(self, *args: Any, **kwargs: Any) -> Features:
        """Run the network on its arguments.

        Returns:
            What the network itself returns, and the layers' outputs in the order of ``layers``.

        Raises:
            UserError: If a layer is not run, or returns no tensor.
        """
        if self._graphs:
            output, entries = self._graphs[self.network.training](*args, **kwargs)
            outputs = dict(zip(self.layers, entries, strict=True))
        else:
            output, outputs = self._recorder.run(self.network, *args, **kwargs)
        return output, [self._feature(layer, outputs) for layer in self.layers]

    def called(self, call: Callable[[Any, Any], Any], inputs: Any) -> Features:
        """Run the network as ``call`` runs one on inputs, which may be part by part, for its output and features.

        Args:
            call: Runs a network on inputs, as a task does.
            inputs: The inputs.

        Raises:
            UserError: If a layer is not run, or returns no tensor.
        """
        if self._graphs:
            features: Features = call_network(self, inputs)
            return features
        output, outputs = self._recorder.run(call, self.network, inputs)
        return output, [self._feature(layer, outputs) for layer in self.layers]

    def _feature(self, layer: str, outputs: Outputs) -> Tensor:
        if layer not in outputs:
            name = type(_unwrapped(self.network)).__name__
            # torch.compile takes the code of an equal network that has no hooks.
            reused = ", or torch.compiler.reset() before its first run" if _is_compiled(self.network) else ""
            raise UserError(f"layer {layer!r}: is not run by {name}'s forward pass, expected one that is{reused}")
        feature = outputs[layer].value()
        if not isinstance(feature, Tensor):
            raise UserError(f"layer {layer!r}: returns {type(feature).__name__}, expected a tensor, or several")
        return feature

    def __getstate__(self) -> dict[str, Any]:
        # Generated functions cannot be pickled; they are made again from the network.
        return {key: value for key, value in self.__dict__.items() if key != "_graphs"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._graphs = self._traced()


def _unknown(layer: str, network: nn.Module) -> str:
    valid = feature_layers(network)
    near = get_close_matches(layer, valid, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    more = f" and {len(valid) - _LISTED} more" if len(valid) > _LISTED else ""
    listed = ", ".join(valid[:_LISTED]) or "none"
    return f"unknown layer {layer!r} of {type(_unwrapped(network)).__name__}{hint} Valid: {listed}{more}"
