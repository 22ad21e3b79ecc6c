"""A network as a graph, for the outputs of operations that are no modules."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from limbeck.errors import UserError, first_line
from limbeck.models.recording import Kept, keep

_ROOT = "network."


class _Tracer(NodePathTracer):  # type: ignore[misc] # torchvision has no types
    """torchvision's tracer, which also keeps what every module returned: the last node inside need not be that."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.returned: dict[str, fx.Node] = {}

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        result = super().call_module(m, forward, args, kwargs)
        if isinstance(result, fx.Proxy):
            self.returned[self.path_of_module(m)] = result.node
        return result


class _Root(nn.Module):
    """Calls the network with one argument, so that its other arguments have their defaults."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Any:
        return self.network(inputs)


@contextmanager
def modes_kept(network: nn.Module) -> Iterator[None]:
    """Put every module's training flag back afterwards; ``network.train(mode)`` would flatten a mixture.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval())
        >>> with modes_kept(net):
        ...     net = net.eval()
        >>> net[0].training, net[1].training
        (True, False)
    """
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _tracer() -> _Tracer:
    # A network of timm's has imported timm; no other needs its list of untraceable pieces.
    timm = sys.modules.get("timm.layers")
    if timm is None:
        return _Tracer()
    return _Tracer(leaf_modules=timm.get_notrace_modules(), autowrap_functions=tuple(timm.get_notrace_functions()))


def traced(network: nn.Module, layers: Sequence[str], *, training: bool) -> Callable[[Tensor], tuple[Any, list[Kept]]]:
    """Trace a network as it is in train or in eval mode; its modules' own flags are left as they were.

    Args:
        network: The network.
        layers: Names of modules (of which the last call counts) or of operations, as torchvision names them.
        training: The mode.

    Returns:
        A function of the network's input that returns its output and those of the layers.

    Raises:
        KeyError: If there is no such layer.
        UserError: If the network cannot be traced, because its control flow depends on the input, for example.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
        >>> output, (flat,) = traced(network, ["0"], training=True)(Tensor(1, 2, 1))
        >>> flat.value().shape
        torch.Size([1, 2])
    """
    tracer, root = _tracer(), _Root(network)
    with modes_kept(network):
        network.train(training)
        try:
            graph = tracer.trace(root)
        except Exception as error:
            raise UserError(f"{type(network).__name__}: cannot be traced ({first_line(error)})") from error
    nodes = {name: node for node, name in tracer.node_to_qualname.items()} | tracer.returned
    output = next(node for node in graph.nodes if node.op == "output")
    output.args = ((output.args[0], [_after(graph, nodes[_ROOT + layer], keep) for layer in layers]),)
    _move_constants(graph, root)
    # Only the generated function is kept: a GraphModule would hold tensors of its own that stay behind on .to().
    return partial(type(fx.GraphModule(root, graph)).forward, root)


def _after(graph: fx.Graph, node: fx.Node, function: Callable[..., Any], *more: fx.Node) -> fx.Node:
    with graph.inserting_after(node):
        return graph.call_function(function, (node, *more))


def _move_constants(graph: fx.Graph, root: nn.Module) -> None:
    """Bring the tensors that the forward pass made when it was traced to the device of the inputs."""
    inputs = next(node for node in graph.nodes if node.op == "placeholder")
    for node in [node for node in graph.nodes if isinstance(vars(root).get(str(node.target)), Tensor)]:
        moved = _after(graph, node, _beside, inputs)
        node.replace_all_uses_with(moved, lambda user, moved=moved: user is not moved)


def _beside(constant: Tensor, inputs: Tensor) -> Tensor:
    return constant.to(inputs.device)
