"""Signals that stop a training: the update under way ends, a checkpoint is written, and then the training ends."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from limbeck.ranks import gathered

STOPPING = (signal.SIGTERM, signal.SIGUSR1)
"""What schedulers and service managers send before they kill; SIGUSR1 is what SLURM's ``--signal=USR1@60`` sends."""
# Within so many seconds a signal once more is the same request: a scheduler sends it to every process of a group, and
# so do the processes that started them. Who presses Ctrl-C again means it.
_SAME_SECONDS, _SAME_SECONDS_OF_CTRL_C = 5.0, 0.5
# Several processes agree to stop, which makes them wait for each other.
_AGREED_STEPS = 8


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM, or SIGUSR1.

    Example:
        >>> issubclass(Terminated, KeyboardInterrupt)
        True
    """


class Interrupted(KeyboardInterrupt):
    """A training was stopped by a signal after its checkpoint was written; the text has the place.

    Example:
        >>> str(Interrupted("saved after step 3 of 10"))
        'saved after step 3 of 10'
    """


def terminate(*_: object) -> None:
    """Raise :class:`Terminated`: the handler of SIGTERM outside of a training.

    Raises:
        Terminated: Always.

    Example:
        >>> try:
        ...     terminate()
        ... except KeyboardInterrupt as stop:
        ...     print(type(stop).__name__)
        Terminated
    """
    raise Terminated


class StopRequest:
    """Whether a signal requests the end of a training; as a handler of signals it takes the request.

    Attributes:
        requested: Whether one came.

    Example:
        >>> request = StopRequest()
        >>> request(signal.SIGTERM, None)
        >>> request.requested
        True
    """

    def __init__(self) -> None:
        self.requested = False
        self._former: dict[int, Callable[[int, Any], Any]] = {}
        self._first = 0.0

    def __call__(self, number: int, frame: Any) -> None:
        """Take a signal; a later one, which is no repetition of the first, goes to the former handler."""
        now = time.monotonic()
        same = _SAME_SECONDS_OF_CTRL_C if number == signal.SIGINT else _SAME_SECONDS
        if self.requested and now - self._first > same and number in self._former:
            self._former[number](number, frame)
        elif not self.requested:
            self.requested, self._first = True, now

    def agreed(self, step: int, steps: int, *, several: bool) -> bool:
        """Return whether the training ends after a step: with several processes, if one of them received a signal.

        Args:
            step: The updates of the epoch that are done.
            steps: How many it has.
            several: Whether several processes train; all call this together.
        """
        if not several:
            return self.requested
        return (step % _AGREED_STEPS == 0 or step == steps) and any(gathered(self.requested))

    def attach(self) -> None:
        """Become the handler of the signals that would raise an interrupt here; handlers of the caller's stay."""
        for number in (signal.SIGINT, *STOPPING):
            if (handler := signal.getsignal(number)) in (signal.default_int_handler, terminate):
                assert callable(handler)
                self._former[number] = handler
                signal.signal(number, self)

    def detach(self) -> None:
        """Put the former handlers back."""
        for number, handler in self._former.items():
            signal.signal(number, handler)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request within the block, instead of an interrupt in the middle of an update.

    A second signal interrupts at once. Nothing changes outside the main thread, and for signals whose handler is one of
    the caller's.

    Raises:
        KeyboardInterrupt: After the block, if there was a request that the block left unanswered.

    Example:
        >>> with stop_requests() as request:
        ...     request.requested
        False
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    request.attach()
    try:
        yield request
    finally:
        request.detach()
    if request.requested:
        raise KeyboardInterrupt
