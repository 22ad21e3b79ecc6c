"""A network as a graph, for the outputs of operations that are no modules."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from limbeck.errors import UserError
from limbeck.models.recording import Kept, keep

_ROOT = "network."


class _Tracer(NodePathTracer):  # type: ignore[misc] # torchvision has no types
    """torchvision's tracer, which also notes what every module returned: the last node inside need not be that."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.returned: dict[str, fx.Node] = {}

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        result = super().call_module(m, forward, args, kwargs)
        if isinstance(result, fx.Proxy):
            self.returned[self.path_of_module(m)] = result.node
        return result


class _Root(nn.Module):
    """Calls the network with one argument, so that the defaults of its other arguments are seen as they are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Any:
        return self.network(inputs)


class Trace(NamedTuple):
    """A network as a graph.

    Attributes:
        root: What the graph's names are looked up in: the network, and the tensors that its forward pass made.
        graph: The graph.
        nodes: What every module that was called returned (the last time), and every operation, by name.
    """

    root: nn.Module
    graph: fx.Graph
    nodes: Mapping[str, fx.Node]

    def run(self, layers: Sequence[str]) -> Callable[..., tuple[Any, list[Kept]]]:
        """Make a function of the network's input that returns its output and what ``layers`` gave."""
        kept = []
        for layer in layers:
            with self.graph.inserting_after(self.nodes[layer]):
                kept.append(self.graph.call_function(keep, (self.nodes[layer],)))
        output = next(node for node in self.graph.nodes if node.op == "output")
        output.args = ((output.args[0], kept),)
        self._move_constants()
        # Only the generated function is kept: a GraphModule would hold tensors of its own that stay behind on .to().
        return partial(type(fx.GraphModule(self.root, self.graph)).forward, self.root)

    def _move_constants(self) -> None:
        """Bring the tensors that the forward pass made, on the device of then, to the inputs' device."""
        inputs = next(node for node in self.graph.nodes if node.op == "placeholder")
        for node in [node for node in self.graph.nodes if isinstance(vars(self.root).get(str(node.target)), Tensor)]:
            with self.graph.inserting_after(node):
                moved = self.graph.call_function(_beside)
            node.replace_all_uses_with(moved)
            moved.args = (node, inputs)


def _beside(constant: Tensor, inputs: Tensor) -> Tensor:
    return constant.to(inputs.device)


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
    # A network of timm's has brought timm with it; nobody else needs its list of untraceable pieces.
    timm = sys.modules.get("timm.layers")
    if timm is None:
        return _Tracer()
    return _Tracer(leaf_modules=timm.get_notrace_modules(), autowrap_functions=tuple(timm.get_notrace_functions()))


def first_line(error: Exception) -> str:
    r"""Return an error's first line, or its type's name if it has no message.

    Example:
        >>> first_line(ValueError("bad\nvery bad")), first_line(KeyError())
        ('bad', 'KeyError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def traced(network: nn.Module, *, training: bool) -> Trace:
    """Trace a network as it is in train or in eval mode; its modules' own flags are left as they were.

    Raises:
        UserError: If it cannot be traced, because its control flow depends on the input, for example.

    Example:
        >>> list(traced(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), training=True).nodes)
        ['0', '1']
    """
    tracer, root = _tracer(), _Root(network)
    with modes_kept(network):
        network.train(training)
        try:
            graph = tracer.trace(root)
        except Exception as error:
            raise UserError(f"{type(network).__name__}: cannot be traced ({first_line(error)})") from error
    nodes = {name: node for node, name in tracer.node_to_qualname.items()} | tracer.returned
    inside = {name.removeprefix(_ROOT): node for name, node in nodes.items() if name.startswith(_ROOT)}
    return Trace(root, graph, inside)
