"""What a split of a data set is, whatever its samples are."""

from typing import Protocol, Self

from torch import Tensor


class Samples(Protocol):
    """The samples of a split, in an order that is always the same.

    Images in memory (:class:`limbeck.data.ImageSet`) and in files (:class:`limbeck.data.FolderSet`) are such splits.

    Example:
        >>> import torch
        >>> from limbeck.data import ImageSet
        >>> split: Samples = ImageSet(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1, 1]))
        >>> split.select(torch.tensor([2])).labels
        tensor([1])
    """

    @property
    def labels(self) -> Tensor:
        """Class numbers, int64 (N,), or ground truth of another shape, such as (N, C) for several classes a sample."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a sample; (C, H, W) for images."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def select(self, indices: Tensor) -> Self:
        """Return the samples at ``indices`` (int64 (M,)), in that order."""

    def fingerprint(self) -> str:
        """Return a hash of what the split holds, in its order."""


def fingerprint(split: Samples) -> str:
    """Return a hash of what a split holds, in its order.

    Args:
        split: The split.

    Returns:
        For images the SHA-256 of content and labels, 64 hexadecimal digits.

    Raises:
        UserError: If a file cannot be read.

    Example:
        >>> import torch
        >>> from limbeck.data import ImageSet
        >>> split = ImageSet(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))
        >>> fingerprint(split) == fingerprint(split.select(torch.tensor([0, 1])))
        True
        >>> fingerprint(split) == fingerprint(split.select(torch.tensor([1, 0])))
        False
    """
    return split.fingerprint()
