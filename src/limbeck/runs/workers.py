"""Worker processes: one task at a time each, and none outlives the process that started it."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from types import ModuleType, TracebackType
from typing import Any, Self

import torch

from limbeck.build.shared import Shared
from limbeck.errors import RunError
from limbeck.processes import end_children_too, end_with_parent
from limbeck.runs.signals import worked_until_stopped

_log = logging.getLogger(__name__)
_TICK_SECONDS = 0.5
# For a checkpoint; SLURM and Kubernetes kill 30 seconds after their SIGTERM.
_GRACE_SECONDS = 20.0


class WorkerDiedError(RunError):
    """A worker process ended before its task did, such as one that was killed or ran out of memory.

    Example:
        >>> issubclass(WorkerDiedError, RunError)
        True
    """


class Workers:
    """Processes for tasks; a process that dies fails the one task that it worked on, and is replaced.

    Every process gets an equal share of the CPU cores. When the block ends by an exception the processes are ended too;
    when this process dies, however it dies, they end within seconds. They do not import the script that is running, so
    a script needs no ``if __name__ == "__main__":``.

    Args:
        count: How many processes.

    Example:
        >>> Workers(2).count
        2
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._processes: dict[int, list[BaseProcess]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._end_processes()
        for pool in self._pools.values():
            pool.shutdown(wait=kind is None, cancel_futures=True)

    def finished(self, work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Mapping[int, Any]]:
        """Do ``work(*task)`` for every task, each in a free process.

        Args:
            work: A function of a module that the processes can import.
            tasks: The arguments of each call.

        Yields:
            At least twice a second the results that came since, by the task's position; for a task whose process died
            a :class:`WorkerDiedError` in place of the result. An exception that ``work`` raises is raised here.
        """
        waiting, free = deque(enumerate(tasks)), list(range(self.count))
        busy: dict[Future[Any], tuple[int, int]] = {}
        while waiting or busy:
            while waiting and free:
                slot, (number, task) = free.pop(), waiting.popleft()
                busy[self._submit(slot, work, task)] = slot, number
            done, _ = wait(busy, timeout=_TICK_SECONDS, return_when=FIRST_COMPLETED)
            yield {busy[future][1]: self._result(busy[future][0], future) for future in done}
            free += [busy.pop(future)[0] for future in done]

    def _submit(self, slot: int, work: Callable[..., Any], task: tuple[Any, ...]) -> Future[Any]:
        if slot in self._pools:
            try:
                return self._pools[slot].submit(worked_until_stopped, work, *task)
            except BrokenProcessPool:
                # Its process died between two tasks.
                self._discard(slot)
        return self._start(slot, work, task)

    def _start(self, slot: int, work: Callable[..., Any], task: tuple[Any, ...]) -> Future[Any]:
        # A pool for each process: the death of a process breaks its whole pool.
        context = multiprocessing.get_context("spawn")
        before = set(multiprocessing.active_children())
        with _one_share_each(self.count) as threads, _without_main():
            arguments = (threads, multiprocessing.get_start_method(allow_none=True))
            pool = ProcessPoolExecutor(1, context, initializer=_prepare_worker, initargs=arguments)
            self._pools[slot] = pool
            future = pool.submit(worked_until_stopped, work, *task)
        # The pool starts its process with the first task.
        self._processes[slot] = [process for process in multiprocessing.active_children() if process not in before]
        _log.debug("worker process started: %s, %d threads", self._processes[slot], threads)
        return future

    def _discard(self, slot: int) -> list[BaseProcess]:
        self._pools.pop(slot).shutdown()
        return self._processes.pop(slot)

    def _result(self, slot: int, future: Future[Any]) -> Any:
        try:
            return future.result()
        except BrokenProcessPool:
            return WorkerDiedError(_how_it_ended(self._discard(slot)))

    def _end_processes(self) -> None:
        processes = [process for of_slot in self._processes.values() for process in of_slot]
        for process in processes:
            process.terminate()
        try:
            _wait_for([process.sentinel for process in processes], _GRACE_SECONDS)
        finally:
            for process in processes:
                process.kill()


def _wait_for(sentinels: Sequence[int], seconds: float) -> None:
    """Wait for the end of processes, at most for some seconds."""
    running, deadline = set(sentinels), time.monotonic() + seconds
    while running and time.monotonic() < deadline:
        running -= set(connection.wait(list(running), timeout=_TICK_SECONDS))


def _how_it_ended(processes: Sequence[BaseProcess]) -> str:
    codes = [process.exitcode for process in processes]
    code = codes[0] if codes else None
    if code is None or code >= 0:
        return f"its process ended unexpectedly (exit code {code})"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"its process was ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the running script, which would run it once more in each of them."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def cores() -> int:
    """Count the CPU cores that this process may use.

    Example:
        >>> cores() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def shared_in_worker() -> Shared:
    """Return what the tasks of this process share, such as data and teachers; for worker processes alone.

    Example:
        >>> shared_in_worker() is shared_in_worker()
        True
    """
    return Shared(keep_teachers=True)


@contextmanager
def _one_share_each(jobs: int) -> Iterator[int]:
    """Give the processes started within an equal share of the cores: two that spin on the same ones crawl."""
    # No more than this process has, by OMP_NUM_THREADS or torch.set_num_threads.
    threads = max(1, min(torch.get_num_threads(), cores() // jobs))
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield threads
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _prepare_worker(threads: int, start_method: str | None) -> None:
    # Ctrl-C reaches the whole group: it is for the parent to stop its workers, without their tracebacks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A spawned process would spawn in its turn: a DataLoader's processes would import torch anew for every epoch.
    multiprocessing.set_start_method(start_method, force=True)
    _end_with_parent()
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return
    end_with_parent(parent.pid)
    end_children_too()
    # For systems that cannot end it by themselves.
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    connection.wait([parent.sentinel])
    os._exit(1)
