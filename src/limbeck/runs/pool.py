"""What runs of a comparison or search are given to: worker processes, on this machine or others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol


class Pool(Protocol):
    """Processes that tasks are given to.

    Example:
        >>> from limbeck.runs.workers import Workers
        >>> pool: Pool = Workers(2)
        >>> pool.count
        2
    """

    @property
    def count(self) -> int:
        """How many tasks are worked on at a time."""

    def finished(self, work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Mapping[int, Any]]:
        """Do ``work(*task)`` for every task, each in a free process.

        Args:
            work: A function of a module that the processes can import.
            tasks: The arguments of each call.

        Yields:
            At least twice a second the results that came since, by the task's position; for a task whose process died
            a :class:`limbeck.runs.workers.WorkerDiedError` in place of the result. An exception that ``work`` raises
            is raised here.
        """
