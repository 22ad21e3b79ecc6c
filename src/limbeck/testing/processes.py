"""Processes of one ``torch.distributed`` group on this machine, for checks that several equal one."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import distributed as dist

# How long a process waits for one that failed.
_TIMEOUT = timedelta(minutes=3)


def _join(rank: int, world: int, meeting: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world, timeout=_TIMEOUT)


class Processes:
    """A group of processes with gloo, started once and used for any number of calls.

    The processes are spawned: functions and arguments are pickled, and a script that starts them needs
    ``if __name__ == "__main__":``.

    Args:
        world: How many.

    Example:
        >>> from limbeck.testing import Processes
        >>> Processes(2).world
        2
    """

    def __init__(self, world: int = 2) -> None:
        self.world = world
        self._pools: list[ProcessPoolExecutor] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="limbeck-")
        meeting = str(Path(self._folder.name) / "meeting")
        # One pool a process, so that every call reaches every process.
        self._pools = [
            ProcessPoolExecutor(1, get_context("spawn"), initializer=_join, initargs=(rank, self.world, meeting))
            for rank in range(self.world)
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)
        if self._folder is not None:
            self._folder.cleanup()

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call ``function(rank, world, *arguments)`` in every process at the same time.

        Args:
            function: A function at the top level of a module.
            arguments: What follows the rank and the number of processes.

        Returns:
            What each call returned, by rank.

        Raises:
            Exception: The first one that a call raised.
        """
        calls = [pool.submit(function, rank, self.world, *arguments) for rank, pool in enumerate(self._pools)]
        return [call.result() for call in calls]
