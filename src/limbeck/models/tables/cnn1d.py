"""A small convolutional network for series of fixed length."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from limbeck.errors import UserError, shortened
from limbeck.models.tables.mlp import check_dropout, checked_widths


class GlobalAverage(nn.Module):
    """The mean over the time steps.

    Example:
        >>> import torch
        >>> GlobalAverage()(torch.tensor([[[1.0, 3.0]]]))
        tensor([[2.]])
    """

    def forward(self, series: Tensor) -> Tensor:
        """Map (N, C, L) to (N, C)."""
        return series.mean(dim=2)


def cnn1d(
    num_classes: int,
    in_channels: int,
    length: int,
    *,
    channels: Sequence[int] = (32, 64, 64),
    kernel: int = 5,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Build a 1-D convolutional network: for each width a convolution, batch norm, ReLU and a maximum over pairs.

    The series is not halved any more where a single step would be left. The head takes the mean over time.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of a series.
        length: Its time steps.
        channels: Widths of the convolutions.
        kernel: Time steps that a convolution looks at, an odd number.
        dropout: Share of the last features that are set to zero in training, in [0, 1).

    Returns:
        The network, from (N, in_channels, length) to (N, num_classes).

    Raises:
        UserError: If a setting is out of range.

    Example:
        >>> import torch
        >>> cnn1d(3, 2, 50)(torch.zeros(4, 2, 50)).shape
        torch.Size([4, 3])
    """
    widths = checked_widths("channels", channels)
    if isinstance(kernel, bool) or not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0:
        raise UserError(f"kernel: got {shortened(kernel)}, expected an odd whole number of at least 1")
    check_dropout(dropout)
    network = nn.Sequential()
    for number, (width_in, width) in enumerate(pairwise((in_channels, *widths))):
        halved, length = length >= 4, length // 2 if length >= 4 else length
        network.add_module(f"layer{number + 1}", _block(width_in, width, kernel, halved=halved))
    network.add_module("average", GlobalAverage())
    if dropout:
        network.add_module("dropout", nn.Dropout(dropout))
    network.add_module("fc", nn.Linear((in_channels, *widths)[-1], num_classes))
    return network


def _block(width_in: int, width: int, kernel: int, *, halved: bool) -> nn.Sequential:
    convolution = nn.Conv1d(width_in, width, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm1d(width), nn.ReLU(), *([nn.MaxPool1d(2)] if halved else []))
