"""SIGTERM and SIGUSR1, which schedulers and service managers send, end a run as Ctrl-C does."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from limbeck.training.interrupting import STOPPING, Terminated, terminate

__all__ = ["Terminated", "terminates_as_interrupt", "worked_until_stopped"]


@contextmanager
def terminates_as_interrupt() -> Iterator[None]:
    """Raise :class:`Terminated` in the block when SIGTERM or SIGUSR1 arrives, so that it ends as cleanly as by Ctrl-C.

    A training in the block writes a checkpoint first, see :mod:`limbeck.training.interrupting`. Nothing changes where a
    handler is set already, outside the main thread, and in worker processes of :mod:`multiprocessing`, which their
    parent ends.

    Example:
        >>> with terminates_as_interrupt():
        ...     print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
        False
    """
    if threading.current_thread() is not threading.main_thread() or multiprocessing.parent_process() is not None:
        yield
        return
    with _terminating():
        yield


@contextmanager
def _terminating() -> Iterator[None]:
    ours = [number for number in STOPPING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def worked_until_stopped(work: Callable[..., Any], *task: Any) -> Any:
    """Do a task in a worker process; when SIGTERM stops it, which lets a training save first, the process ends by it.

    A worker that turned SIGTERM into an exception alone would return it as a result, and take the next task.

    Args:
        work: What is done.
        *task: Its arguments.

    Example:
        >>> worked_until_stopped(max, 2, 3)
        3
    """
    try:
        with _terminating():
            return work(*task)
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
