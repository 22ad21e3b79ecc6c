"""``torch.compile`` for the student, tried on a copy first."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limbeck.models.calling import call_network


def compile_network(
    network: nn.Module,
    example: Any,
    precision: AbstractContextManager[object],
    *,
    call: Callable[[nn.Module, Any], Any] = call_network,
) -> str | None:
    """Compile a network in place, after a forward and a backward of a compiled copy have succeeded.

    ``state_dict`` and names stay as they are, and copies of the network are not compiled. Results differ from the
    uncompiled network's in the last digits, because additions are ordered otherwise.

    Args:
        network: The network.
        example: A batch of inputs like those of the training.
        precision: The precision to try it in.
        call: Runs a network on inputs.

    Returns:
        None if it is compiled; else, in one line, why it is not, and it is as it was.

    Example:
        >>> from contextlib import nullcontext
        >>> class Broken(nn.Linear):
        ...     def forward(self, x):
        ...         raise ValueError("no such thing")
        >>> compile_network(Broken(2, 2), torch.zeros(1, 2), nullcontext())
        'ValueError: no such thing'
    """
    # How often one function may be compiled is limited, and all networks of a process count as one.
    torch.compiler.reset()
    trial = copy.deepcopy(network).train()
    trial.compile()
    try:
        with precision:
            leaves = pytree.tree_leaves(call(trial, example))
        outputs = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
        torch.autograd.backward([output.float().sum() for output in outputs])
    # Compilers raise errors of any class, and the training does not need them.
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
        # PyTorch 2.6 names the backend in the first line and the reason in the second.
        return f"{type(error).__name__}: {' '.join(lines[: 2 if lines[0].endswith(':') else 1])}"
    network.compile()
    return None
