"""Processes that end with the process that started them, however it dies."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """End this process when its parent dies, by the operating system where it can do that (Linux).

    On Linux the parent is the thread that started this process: it should live as long as the process is needed.

    Args:
        parent: The parent's process number; if it is not that any more, this process ends now.

    Example:
        >>> end_with_parent(os.getppid())
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def end_children_too() -> None:
    """Make every process that this one forks from now on, such as a DataLoader's, end with it, and theirs with them.

    A DataLoader's process whose parent is dead at its first check would otherwise wait for ever, and so would any
    process that waits for the end of this one.
    """
    if hasattr(os, "register_at_fork"):
        parent = os.getpid()

        def note_parent() -> None:
            nonlocal parent
            parent = os.getpid()

        os.register_at_fork(before=note_parent, after_in_child=lambda: end_with_parent(parent))
