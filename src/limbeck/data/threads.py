"""The same work on many files, by a pool of threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_CHUNK = 256


def map_in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return the results of ``work`` for each item, in their order; its first error is raised.

    Example:
        >>> map_in_threads(abs, [-1, 2, -3])
        [1, 2, 3]
    """

    def chunk(start: int) -> list[Result]:
        return [work(item) for item in items[start : start + _CHUNK]]

    with ThreadPoolExecutor() as pool:
        return [result for part in pool.map(chunk, range(0, len(items), _CHUNK)) for result in part]
