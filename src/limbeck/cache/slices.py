"""Parts of a batch whose inputs are of any kind."""

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limbeck.data.batch import Batch


def device_of(batch: Batch) -> torch.device:
    """Return where a batch's inputs are; without a tensor among them, where its indices are, else the CPU.

    Example:
        >>> device_of(Batch({"text": ["a"], "mask": torch.ones(1)}))
        device(type='cpu')
    """
    if isinstance(batch.inputs, Tensor):
        return batch.inputs.device
    leaves = pytree.tree_leaves((batch.inputs, batch.indices))
    return next((leaf.device for leaf in leaves if isinstance(leaf, Tensor)), torch.device("cpu"))


def first_samples(batch: Batch, count: int) -> Batch:
    """Return the first samples of a batch, or the whole of it unless it is tensors with one row a sample.

    Args:
        batch: The batch.
        count: How many samples.

    Example:
        >>> first_samples(Batch({"x": torch.zeros(3, 2)}, None, torch.arange(3)), 2).indices
        tensor([0, 1])
        >>> first_samples(Batch([torch.zeros(3, 2)] * 3, None, torch.arange(3)), 2).size
        3
    """
    rows, parts = batch.size, pytree.tree_leaves(tuple(batch))
    # For pytree None is a leaf in some versions and none in others. The tensors of a list are samples.
    of_rows = all(part is None or (isinstance(part, Tensor) and part.ndim and len(part) == rows) for part in parts)
    if isinstance(batch.inputs, list) or not of_rows:
        return batch
    return Batch(*pytree.tree_map_only(Tensor, lambda part: part[:count], tuple(batch)))
