"""What the processes of a training have counted on their parts of a split, put together."""

from collections.abc import Iterable
from typing import Any, TypeVar

from torch import Tensor
from torch.utils import _pytree as pytree
from torchmetrics import Metric as TorchMetric

from limbeck.ranks import gathered, rank

Item = TypeVar("Item")


def gather_list(items: list[Item]) -> list[Item]:
    """Return the items of all processes, in the order of these.

    Example:
        >>> gather_list([1, 2])
        [1, 2]
    """
    return [item for part in gathered(items) for item in part]


def gather_metrics(metrics: Iterable[TorchMetric]) -> None:
    """Add to metrics what the other processes have counted.

    Args:
        metrics: Metrics of torchmetrics whose states can be added up or joined.

    Example:
        >>> import torch
        >>> from torchmetrics import SumMetric
        >>> total = SumMetric()
        >>> total.update(2.0)
        >>> gather_metrics([total])
        >>> total.compute()
        tensor(2.)
    """
    for metric in metrics:
        states = gathered(_moved(dict(metric.metric_state), "cpu"))
        for number, state in enumerate(states):
            if number != rank():
                metric.merge_state(_moved(state, metric.device))


def _moved(state: Any, device: Any) -> Any:
    return pytree.tree_map_only(Tensor, lambda values: values.to(device), state)
