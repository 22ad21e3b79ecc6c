"""Features of any traceable network: the same network, asked for what its layers give beside its logits."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, fx, nn

from limbeck.errors import UserError, first_line
from limbeck.models.tracing import Trace, modes_kept, preserved, traced

Features = tuple[Tensor, list[Tensor]]
_LISTED = 12


def feature_layers(network: nn.Module) -> list[str]:
    """List the layers whose output can be extracted.

    Args:
        network: A network that `torch.fx` can trace.

    Returns:
        Names of modules that are run, as in ``network.named_modules()``: those nearest to the top first (and there
        those made of other modules before single layers), in the order in which they finish.

    Raises:
        UserError: If the network cannot be traced.

    Example:
        >>> from limbeck import models
        >>> feature_layers(models.create("resnet8", num_classes=10))[:4]
        ['layer1', 'layer2', 'layer3', 'conv1']
    """
    return _ordered(network, traced(network, training=network.training))


def _ordered(network: nn.Module, trace: Trace) -> list[str]:
    modules = dict(network.named_modules())
    return sorted(trace.modules, key=lambda name: (name.count("."), not any(modules[name].children())))


def stage_layers(network: nn.Module, inputs: Tensor) -> list[str]:
    """Suggest layers to compare: the last one of every size of map, and the last one that gives tokens.

    Modules made of others come before single layers, and of two that end in the same place the outer one is named:
    the stages of a ResNet, a VGG or a MobileNet.

    Args:
        network: A network that `torch.fx` can trace; it is run once, in eval mode, without a graph.
        inputs: A batch for it.

    Returns:
        Names in the order of the forward pass; empty if the network makes no maps.

    Raises:
        UserError: If the network cannot be traced or run on ``inputs``.

    Example:
        >>> from limbeck import models
        >>> stage_layers(models.create("vgg8", num_classes=10), torch.zeros(1, 3, 32, 32))
        ['block0', 'block1', 'block2', 'block4']
    """
    modules = dict(network.named_modules())
    shallow = [name for name in traced(network, training=False).modules if name.count(".") <= 1]
    names = [name for name in shallow if any(modules[name].children())] or shallow
    last: dict[tuple[int, ...], str] = {}
    for name, feature in zip(names, _once(FeatureExtractor(network, names), inputs), strict=True):
        if not _is_batch(feature) or feature.ndim == 2:
            continue
        size = tuple(feature.shape[2:]) if feature.ndim == 4 else ()
        if size == (1, 1) and not any(True for _ in modules[name].parameters()):
            continue  # the pooling at the end is no stage
        # Put behind the sizes seen so far, as a size may come back.
        last.pop(size, None)
        last[size] = name
    return list(last.values())


def probe(extractor: "FeatureExtractor", inputs: Tensor) -> list[tuple[int, ...]]:
    """Run an extractor once for the shapes of its features, leaving no trace: no statistics, no random numbers.

    Args:
        extractor: The extractor.
        inputs: A batch; it is brought to the network's device and type.

    Returns:
        The shape of each feature, without the batch dimension.

    Raises:
        UserError: If the network cannot take the inputs, or a layer's output is no batch of numbers.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> probe(FeatureExtractor(network, ["1"]), torch.zeros(3, 4))
        [(8,)]
    """
    features = _once(extractor, inputs)
    for layer, feature in zip(extractor.layers, features, strict=True):
        if not _is_batch(feature):
            kind = tuple(feature.shape) if isinstance(feature, Tensor) else type(feature).__name__
            raise UserError(f"layer {layer!r}: gives {kind}, expected a batch of floats such as (N, channels, H, W)")
    return [tuple(feature.shape[1:]) for feature in features]


def _is_batch(feature: object) -> bool:
    return isinstance(feature, Tensor) and feature.is_floating_point() and 2 <= feature.ndim <= 4


def _once(extractor: "FeatureExtractor", inputs: Tensor) -> list[Tensor]:
    weights = next(extractor.network.parameters(), inputs)
    cuda = [weights.device] if weights.device.type == "cuda" else []
    if inputs.is_floating_point():
        inputs = inputs.to(weights.dtype)
    with modes_kept(extractor.network), torch.random.fork_rng(cuda), torch.no_grad():
        extractor.network.eval()
        try:
            features: list[Tensor] = extractor(inputs.to(weights.device))[1]
        except Exception as error:
            name = type(extractor.network).__name__
            raise UserError(f"example: {name} cannot take it ({first_line(error)})") from error
    return features


class FeatureExtractor(nn.Module):
    """Run a network once for its logits and the outputs of some of its layers.

    The graph is traced with torchvision's feature extraction, without hooks, and run on the network itself: its own
    parameters, buffers and leaf modules are read at every call, so that the extractor follows whatever happens to them
    (another device, new weights, a parametrisation). There is a graph for train and one for eval mode, and the
    network's own flag chooses. A feature that the network goes on to overwrite in place is copied first.

    Args:
        network: The network; called with one argument. Its control flow must not depend on the input.
        layers: Names of modules, as :func:`feature_layers` lists them, or of single operations as torchvision names
            them, such as ``"layer1.0.add"``.

    Raises:
        UserError: If a layer is unknown, or the network cannot be traced.

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
        self._runs = self._all_runs()

    def _all_runs(self) -> dict[bool, Callable[..., Features]]:
        return {training: self._run(traced(self.network, training=training), training) for training in (False, True)}

    def _run(self, trace: Trace, training: bool) -> Callable[..., Features]:
        self._adopt(trace, "train" if training else "eval")
        nodes = [self._found(trace, layer) for layer in self.layers]
        kept = {node: preserved(trace.graph, node, self) for node in dict.fromkeys(nodes)}
        output = next(node for node in trace.graph.nodes if node.op == "output")
        output.args = ((output.args[0], [kept[node] for node in nodes]),)
        # Only the generated function is kept: a GraphModule would hold tensors of its own that stay behind on .to().
        return type(fx.GraphModule(self, trace.graph)).forward

    def _adopt(self, trace: Trace, mode: str) -> None:
        """Keep the tensors that the forward pass made while it was traced, where the network is."""
        device = next(self.network.parameters(), torch.empty(0)).device
        for node in list(trace.graph.nodes):
            if node.op == "get_attr" and node.target in trace.constants:
                name = f"{mode}{node.target}"
                self.register_buffer(name, trace.constants[node.target].to(device), persistent=False)
                node.target = name

    def follow(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Apply ``fn`` to the extractor's own buffers, if it has any, as ``Module._apply`` would, not to the network.

        Example:
            >>> FeatureExtractor(nn.Sequential(nn.Linear(2, 2)), ["0"]).follow(lambda tensor: tensor.double())
        """
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)

    def _found(self, trace: Trace, layer: str) -> fx.Node:
        node = trace.node(layer)
        if node is not None:
            return node
        valid = _ordered(self.network, trace)
        near = get_close_matches(layer, valid, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
        more = f" and {len(valid) - _LISTED} more" if len(valid) > _LISTED else ""
        listed = ", ".join(valid[:_LISTED]) or "none"
        raise UserError(f"unknown layer {layer!r} of {type(self.network).__name__}{hint} Valid: {listed}{more}")

    def forward(self, inputs: Tensor) -> Features:
        """Run the network on ``inputs``.

        Returns:
            What the network itself returns, and the layers' outputs in the order of ``layers``.
        """
        return self._runs[self.network.training](self, inputs)

    def __getstate__(self) -> dict[str, Any]:
        # Generated functions cannot be pickled; they are made again from the network.
        return {key: value for key, value in self.__dict__.items() if key != "_runs"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._runs = self._all_runs()
