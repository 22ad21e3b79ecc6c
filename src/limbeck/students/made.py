"""A batch that was made of raw samples, and what makes them."""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from limbeck.errors import UserError

Sample = TypeVar("Sample")
Read = TypeVar("Read")
Skipped = MutableMapping[int, str]
"""The positions of samples that could not be read, each with the reason."""


class Made(NamedTuple):
    """A batch of raw samples as a network takes them.

    Attributes:
        inputs: What the network takes: a tensor, or a mapping of its arguments.
        positions: The position of each sample among those that were given.
        sizes: Height and width of each image as it was given, in pixels; empty for other samples.

    Example:
        >>> import torch
        >>> Made(torch.zeros(1, 4), [0]).sizes
        ()
    """

    inputs: Any
    positions: list[int]
    sizes: Sequence[tuple[int, int]] = ()


class Preparation(Protocol):
    """Makes inputs of raw samples, exactly as a run made them of its test split.

    Attributes:
        unit: What a sample is called, in the plural.
    """

    unit: ClassVar[str]

    def samples(self, given: Any) -> Any:
        """Return what was given as raw samples, which have a length.

        Raises:
            UserError: If it is none.
        """

    def batches(self, given: Any, batch_size: int, skipped: Skipped | None = None) -> Iterator[Made]:
        """Yield batches of raw samples, in their order.

        Args:
            given: The raw samples.
            batch_size: How many a batch has at most.
            skipped: Receives the samples that cannot be read, which are left out; None raises the first one's error.

        Raises:
            UserError: If a sample cannot be read, or is of another kind.
        """


def read_in_batches(
    samples: Sequence[Sample],
    batch_size: int,
    read: Callable[[Sequence[Sample]], list[Read | UserError]],
    skipped: Skipped | None,
) -> Iterator[tuple[list[int], list[Read]]]:
    """Yield the positions and the content of samples, ``batch_size`` at a time, without those that cannot be read.

    Args:
        samples: The samples.
        batch_size: How many to read at a time.
        read: Returns the content of each of several samples, or why it cannot be read.
        skipped: Receives what cannot be read; None raises it.

    Raises:
        UserError: If a sample cannot be read and ``skipped`` is None.

    Example:
        >>> skipped = {}
        >>> def read(texts):
        ...     return [int(text) if text.isdecimal() else UserError(f"{text} is no number") for text in texts]
        >>> list(read_in_batches(["1", "x", "3"], 2, read, skipped)), skipped
        ([([0], [1]), ([2], [3])], {1: 'x is no number'})
    """
    for start in range(0, len(samples), batch_size):
        found: dict[int, Read] = {}
        for place, content in enumerate(read(samples[start : start + batch_size]), start):
            if not isinstance(content, UserError):
                found[place] = content
            elif skipped is None:
                raise content
            else:
                skipped[place] = str(content)
        if found:
            yield list(found), list(found.values())
