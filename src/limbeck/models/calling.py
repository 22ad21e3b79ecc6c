"""Call a network on inputs of any kind, and find the logits in what it returns."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from limbeck.errors import UserError

# Where the logits lie in a mapping: Hugging Face's name, then torchvision's.
_LOGITS = ("logits", "out")


def call_network(network: Callable[..., Any], inputs: Any) -> Any:
    """Run a network: a mapping is passed as keyword arguments, anything else as the one argument.

    Args:
        network: The network.
        inputs: A tensor, a list, a mapping by argument name, or whatever else the network takes.

    Returns:
        What the network returns.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> call_network(nn.Identity(), {"input": torch.ones(1)}), call_network(nn.Identity(), torch.ones(1))
        (tensor([1.]), tensor([1.]))
    """
    return network(**inputs) if isinstance(inputs, Mapping) else network(inputs)


def output_logits(output: Any, whose: str = "output") -> Tensor:
    """Return the logits in a network's output: a tensor itself, an attribute ``.logits``, or a mapping's entry.

    Args:
        output: What a network returned: a tensor, an object with ``.logits`` (as Hugging Face's), or a mapping with
            ``"logits"`` or ``"out"`` (as torchvision's segmentation networks).
        whose: What begins the error's line.

    Raises:
        UserError: If there are none.

    Example:
        >>> import torch
        >>> output_logits({"out": torch.zeros(1, 3), "aux": torch.ones(1, 3)})
        tensor([[0., 0., 0.]])
    """
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if logits is None and isinstance(output, Mapping):
        logits = next((output[key] for key in _LOGITS if key in output), None)
    if not isinstance(logits, Tensor):
        kind = f"a mapping with {', '.join(map(str, output))}" if isinstance(output, Mapping) else type(output).__name__
        raise UserError(f"{whose}: got {kind}, expected a tensor of logits, .logits, or a mapping with logits or out")
    return logits
