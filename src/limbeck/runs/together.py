"""One run in several processes of this machine, which torch's elastic launcher starts, watches and ends together."""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from limbeck.errors import RunError
from limbeck.reporting import quiet_loggers
from limbeck.runs.workers import cores

LAUNCHED = "LIMBECK_LAUNCHED"
"""Set in processes whose launcher reports that one of them was killed."""
_STOPPED = 130


def run_in_processes(arguments: Sequence[str], processes: int) -> int:
    """Start ``limbeck`` with the same arguments in several processes that train together, and wait for their end.

    Where one of them ends early, however it ends, the others are ended too.

    Args:
        arguments: Those of the command.
        processes: How many.

    Returns:
        The exit code of the process that ended first.

    Raises:
        RunError: If a process was ended by a signal.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    # One line names what has happened.
    with _environment(processes), quiet_loggers("torch.distributed.elastic", logging.CRITICAL + 1):
        try:
            elastic_launch(config, sys.executable)("-m", "limbeck", *arguments)
        except ChildFailedError as error:
            return _ended(error, processes)
        except (SignalException, KeyboardInterrupt):
            # The first process has printed how to go on.
            return _STOPPED
    return 0


def _ended(error: ChildFailedError, processes: int) -> int:
    number, failure = error.get_first_failure()
    if failure.exitcode >= 0:
        return failure.exitcode
    name = signal.Signals(-failure.exitcode).name
    reason = ", as when memory runs out" if name == "SIGKILL" else ""
    ended = f"process {number + 1} of {processes} was ended by {name}{reason}"
    raise RunError(f"{ended}; all have been ended, the same command with --resume continues")


@contextmanager
def _environment(processes: int) -> Iterator[None]:
    """Give each process an equal share of the cores."""
    added = {LAUNCHED: "1"}
    if "OMP_NUM_THREADS" not in os.environ:
        added["OMP_NUM_THREADS"] = str(max(1, cores() // processes))
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
