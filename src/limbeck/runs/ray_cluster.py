"""The connection to a Ray cluster: one that is there, or one that is started on this machine and ended after it."""

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from limbeck.errors import UserError, one_line
from limbeck.imports import optional_package
from limbeck.runs.workers import cores

# Tasks are given and return a few kilobytes; Ray would reserve a third of the memory.
_STORE_BYTES = 128 * 2**20
_REACH_SECONDS = 10.0


class Machine(NamedTuple):
    """What a machine of a cluster has.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs.
    """

    cpus: float
    gpus: float

    def room(self, cpus: float, gpus: float) -> int:
        """Return how many tasks fit that take so many cores and GPUs each.

        Example:
            >>> Machine(8, 2).room(2, 0), Machine(8, 2).room(2, 1)
            (4, 2)
        """
        return int(min(self.cpus // cpus, self.gpus // gpus if gpus else self.cpus // cpus))


@contextmanager
def connected(address: str | None) -> Iterator[bool]:
    """Connect this process to a Ray cluster for the block; a connection that is there already is used, and kept.

    Args:
        address: As :class:`limbeck.runs.placement.Placement` has it.

    Yields:
        Whether the cluster was started here, for this block alone.

    Raises:
        UserError: If Ray is missing, or there is no such cluster.
    """
    ray = optional_package("ray", "ray", "on: ray")
    if ray.is_initialized():
        if address is not None:
            raise UserError(f"on: got ray:{address}, but this process is connected to a Ray cluster, expected ray")
        yield False
        return
    try:
        with _sigterm_kept():
            started = _connect(ray, address)
        yield started
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str | None) -> bool:
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address == "local":
        return _start(ray)
    if address not in (None, "auto"):
        _check_reachable(address)
    try:
        _init(ray, address=address or "auto")
    except ConnectionError as error:
        if address is None:
            return _start(ray)
        raise UserError(_refusal(address, error)) from error
    except (RuntimeError, ValueError, ImportError, ray.exceptions.RayError) as error:
        raise UserError(_refusal(address or "auto", error)) from error
    return False


def _check_reachable(address: str) -> None:
    # Ray itself tries for many minutes to reach an address that no program serves.
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:
        raise UserError(_refusal(address, error)) from None


def _refusal(address: str, error: Exception) -> str:
    expected = "expected the address of one that runs, with RAY_AUTH_MODE=token set if it has a token"
    return f"on: no Ray cluster can be used at {address} ({one_line(error)}), {expected}"


def _start(ray: Any) -> bool:
    usage = "RAY_USAGE_STATS_ENABLED"
    former = os.environ.get(usage)
    os.environ[usage] = "0"
    try:
        _init(ray, address="local", num_cpus=cores(), object_store_memory=_STORE_BYTES, include_dashboard=False)
    finally:
        del os.environ[usage]
        if former is not None:
            os.environ[usage] = former
    return True


def _init(ray: Any, **arguments: Any) -> None:
    with warnings.catch_warnings():
        # What they are about is in the error that follows.
        warnings.simplefilter("ignore")
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **arguments)


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep the handler of SIGTERM, in place of which Ray puts one that ends the process at once."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def machines() -> list[Machine]:
    """List what the machines of the cluster have that this process is connected to."""
    ray = optional_package("ray", "ray", "on: ray")
    nodes: Sequence[Mapping[str, Any]] = ray.nodes()
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    return [Machine(found.get("CPU", 0.0), found.get("GPU", 0.0)) for found in resources]
