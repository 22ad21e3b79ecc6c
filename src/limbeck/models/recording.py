"""The outputs of a network's modules while it runs, by forward hooks that keep nothing at other times."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Kept(NamedTuple):
    """The output of a layer, kept until the forward pass is over.

    Attributes:
        output: The tensor itself, or what the layer returned instead of one; None where only the copy is valid.
        copy: A copy made at once.
        version: How often the tensor had been written to.
    """

    output: Any
    copy: Tensor | None
    version: int

    def value(self) -> Any:
        """Return the tensor itself, or its copy if it has been overwritten in place since.

        The copy is not always taken: a backward pass through it would add up gradients in another order.
        """
        if self.copy is None or (self.output is not None and self.output._version == self.version):
            return self.output
        return self.copy


Outputs = dict[str, Kept]


def keep(output: Any) -> Kept:
    """Keep the first tensor of a layer's output.

    Args:
        output: A tensor, or a tuple, a mapping or a dataclass with one.

    Example:
        >>> tensor = torch.tensor([-1.0, 2.0])
        >>> entry = keep((tensor, None))
        >>> entry.value() is tensor, tensor.relu_().tolist(), entry.value().tolist()
        (True, [0.0, 2.0], [-1.0, 2.0])
    """
    tensor = _first_tensor(output)
    if tensor is None:
        return Kept(output, None, 0)
    # A compiler removes copies that are not needed, and inference tensors do not count what is written to them.
    if torch.compiler.is_compiling() or tensor.is_inference():
        return Kept(None, tensor.clone(), 0)
    return Kept(tensor, tensor.clone(), tensor._version)


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    for part in _parts(output):
        tensor = _first_tensor(part)
        if tensor is not None:
            return tensor
    return None


def _parts(output: Any) -> Sequence[Any]:
    if isinstance(output, Mapping):
        return list(output.values())
    if is_dataclass(output):
        return list(vars(output).values())
    return output if isinstance(output, tuple | list) else ()


class _Hook:
    """A forward hook that keeps a layer's output where a recording is under way; it can be copied and pickled."""

    def __init__(self, layer: str, recordings: dict[int, Outputs]) -> None:
        self.layer, self.recordings = layer, recordings

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002 - as torch calls hooks
        if torch.compiler.is_compiling():
            # A compiler cannot look the thread up.
            outputs = next(iter(self.recordings.values())) if self.recordings else None
        else:
            outputs = self.recordings.get(get_ident())
        if outputs is not None:
            outputs[self.layer] = keep(output)


class Recorder:
    """Hooks on modules, which keep the modules' outputs during the calls of :meth:`run` of the same thread.

    The hooks stay on the modules as long as the recorder lives, so that a compiler has them in its graph. A copy of the
    recorder and the modules has hooks of its own; a copy of the modules alone has hooks that never keep anything.

    Args:
        modules: The modules by name.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> output, outputs = Recorder({"1": network[1]}).run(network, torch.ones(1, 2))
        >>> outputs["1"].value() is output, len(network[1]._forward_hooks)
        (True, 0)
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._recordings: dict[int, Outputs] = {}
        hooks = ((module, _Hook(name, self._recordings)) for name, module in modules.items())
        self._handles = [module.register_forward_hook(hook) for module, hook in hooks]
        self._finalize()

    def _finalize(self) -> None:
        weakref.finalize(self, _remove, self._handles).atexit = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._finalize()

    def run(self, network: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Outputs]:
        """Call a network; return its output and those of the modules, by name, in the order of their first calls.

        Of a module that is called more than once the last call counts; one that is not called is missing.
        """
        thread = 0 if torch.compiler.is_compiling() else get_ident()
        outputs = self._recordings[thread] = {}
        try:
            return network(*args, **kwargs), outputs
        finally:
            del self._recordings[thread]


def _remove(handles: Sequence[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()
