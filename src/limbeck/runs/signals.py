"""A request to end (SIGTERM) handled as Ctrl-C is, so that both stop a command in the same orderly way."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def terminates_as_interrupt() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` where SIGTERM would end the process at once; outside the main thread do nothing.

    Python runs handlers in the main thread alone, so a run in another thread keeps the process's own handling.

    Example:
        >>> import os
        >>> try:
        ...     with terminates_as_interrupt():
        ...         os.kill(os.getpid(), signal.SIGTERM)
        ... except KeyboardInterrupt:
        ...     print("stopped")
        stopped
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        # None stands for a handler that was not installed by Python, which cannot be put back.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if former is None else former)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
