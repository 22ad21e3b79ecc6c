"""SIGTERM, which schedulers and service managers send, ends a run as Ctrl-C does."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM.

    Example:
        >>> issubclass(Terminated, KeyboardInterrupt)
        True
    """


@contextmanager
def terminates_as_interrupt() -> Iterator[None]:
    """Raise :class:`Terminated` in the block when SIGTERM arrives, so that it ends as cleanly as by Ctrl-C.

    Nothing changes where a handler is set already, outside the main thread, and in worker processes of
    :mod:`multiprocessing`, which their parent ends.

    Example:
        >>> with terminates_as_interrupt():
        ...     print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
        False
    """
    if not _is_ours_to_set():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_ours_to_set() -> bool:
    # A worker that turned SIGTERM into an exception would return it as a result, and take the next task.
    is_worker = multiprocessing.parent_process() is not None
    in_main_thread = threading.current_thread() is threading.main_thread()
    return in_main_thread and not is_worker and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def _terminate(*_: object) -> None:
    raise Terminated
