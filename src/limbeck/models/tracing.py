"""A network as a graph, and what in it writes over its own values."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from limbeck.errors import UserError, first_line

_ROOT = "network."
_IN_PLACE_OPERATORS = frozenset({"iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow"})
_ALIASING_MODULES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.Unflatten)
_ALIASING_CALLS = frozenset(
    {"chunk", "contiguous", "dropout", "expand", "flatten", "float", "getitem", "movedim", "narrow", "permute"}
    | {"reshape", "split", "squeeze", "to", "transpose", "unbind", "unflatten", "unsqueeze", "view", "view_as"}
)


class _Tracer(NodePathTracer):  # type: ignore[misc] # torchvision has no types
    """torchvision's tracer, which also notes what every module returned: the last node inside need not be that."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.returned: dict[str, Any] = {}

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        result = super().call_module(m, forward, args, kwargs)
        self.returned[self.path_of_module(m)] = result
        return result


class _Asked(nn.Module):
    """Calls the network with one argument, so that the defaults of its other arguments are seen as they are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Any:
        return self.network(inputs)


class Trace(NamedTuple):
    """A network as a graph.

    Attributes:
        graph: The graph; the network's modules are called ``network.NAME`` in it.
        modules: What each module that was called returned (the last time), where that is one value.
        operations: Every operation, by the name that torchvision gives it.
        constants: Tensors that the forward pass made, by their name in the graph.
    """

    graph: fx.Graph
    modules: Mapping[str, fx.Node]
    operations: Mapping[str, fx.Node]
    constants: Mapping[str, Tensor]

    def node(self, layer: str) -> fx.Node | None:
        """Find what a layer gives, by the name of a module or of an operation."""
        return self.modules.get(layer, self.operations.get(layer))


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


def traced(network: nn.Module, *, training: bool) -> Trace:
    """Trace a network as it is in train or in eval mode; its modules' own flags are left as they were.

    Raises:
        UserError: If it cannot be traced, because its control flow depends on the input, for example.

    Example:
        >>> list(traced(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), training=True).modules)
        ['0', '1']
    """
    tracer, asked = _tracer(), _Asked(network)
    with modes_kept(network):
        network.train(training)
        try:
            graph = tracer.trace(asked)
        except Exception as error:
            why = f"cannot be traced, so its features cannot be had ({first_line(error)})"
            raise UserError(f"{type(network).__name__}: {why}") from error
    returned = {name: result.node for name, result in tracer.returned.items() if isinstance(result, fx.Proxy)}
    operations = {name: node for node, name in tracer.node_to_qualname.items()}
    constants = {name: value for name, value in vars(asked).items() if isinstance(value, Tensor)}
    return Trace(graph, _inside(returned), _inside(operations), constants)


def _inside(named: Mapping[str, fx.Node]) -> dict[str, fx.Node]:
    return {name.removeprefix(_ROOT): node for name, node in named.items() if name.startswith(_ROOT)}


def preserved(graph: fx.Graph, node: fx.Node, root: nn.Module) -> fx.Node:
    """Return ``node``, or a copy made right after it if anything writes into it later.

    Args:
        graph: The graph; a copy is put into it.
        node: One of its nodes.
        root: The module that the graph's names are looked up in.

    Returns:
        The node whose value is what ``node`` gave.
    """
    if not _overwritten(node, root):
        return node
    with graph.inserting_after(node):
        return graph.call_function(torch.clone, (node,))


def _overwritten(node: fx.Node, root: nn.Module) -> bool:
    return any(_writes(user, root) or (_aliases(user, root) and _overwritten(user, root)) for user in node.users)


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _writes(user: fx.Node, root: nn.Module) -> bool:
    if user.op == "call_module":
        return bool(getattr(root.get_submodule(str(user.target)), "inplace", False))
    if user.op not in ("call_function", "call_method"):
        return False
    name = _name(user)
    trailing = name.endswith("_") and not name.endswith("__")
    # F.relu(x, True) is in place; for other functions a positional True costs no more than a copy.
    flagged = user.kwargs.get("inplace") is True or any(argument is True for argument in user.args[1:])
    return trailing or flagged or name in _IN_PLACE_OPERATORS


def _aliases(user: fx.Node, root: nn.Module) -> bool:
    if user.op == "call_module":
        return isinstance(root.get_submodule(str(user.target)), _ALIASING_MODULES)
    return _name(user) in _ALIASING_CALLS
