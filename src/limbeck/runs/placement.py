"""Where runs train: the value of ``--on``, read in one place."""

import re
from dataclasses import dataclass
from typing import Literal

from limbeck.errors import UserError, shortened

_HOST = r"(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}"
_CLIENT, _CLUSTER = re.compile(f"ray://{_HOST}"), re.compile(f"{_HOST}|auto|local")


@dataclass(frozen=True)
class Placement:
    """Where runs train.

    Attributes:
        engine: ``local`` for processes of this machine, ``ray`` for tasks of a Ray cluster.
        address: The cluster's, as ``ray.init`` takes it; None for the one that ``RAY_ADDRESS`` names or that runs on
            this machine, else a new one here.
        tasks: How many tasks at a time; None for as many as the cluster has room for.
    """

    engine: Literal["local", "ray"]
    address: str | None = None
    tasks: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Placement":
        """Read ``local``, ``ray``, ``ray:TASKS``, ``ray://HOST:PORT``, ``ray:HOST:PORT``, ``ray:auto``, ``ray:local``.

        ``ray://HOST:PORT`` is the port of Ray's client server, from any machine; ``ray:HOST:PORT`` that of the cluster
        itself, from a machine of the cluster. ``ray:auto`` takes a cluster that is there and starts none, ``ray:local``
        starts one, and ``ray`` does whichever is possible.

        Raises:
            UserError: If it is none of them.

        Example:
            >>> Placement.parse("ray://head:10001").address, Placement.parse("ray:head:6379").address
            ('ray://head:10001', 'head:6379')
            >>> Placement.parse("ray:8")
            Placement(engine='ray', address=None, tasks=8)
            >>> Placement.parse("slurm")
            Traceback (most recent call last):
            limbeck.errors.UserError: on: got 'slurm', expected local, ray, ray:TASKS, ray:HOST:PORT or ray://HOST:PORT
        """
        engine, colon, rest = text.partition(":")
        if text == "local":
            return cls("local")
        if text == "ray":
            return cls("ray")
        if _CLIENT.fullmatch(text):
            return cls("ray", address=text)
        if engine == "ray" and colon and re.fullmatch(r"[1-9]\d{0,5}", rest):
            return cls("ray", tasks=int(rest))
        if engine == "ray" and _CLUSTER.fullmatch(rest):
            return cls("ray", address=rest)
        expected = "expected local, ray, ray:TASKS, ray:HOST:PORT or ray://HOST:PORT"
        raise UserError(f"on: got {shortened(text)}, {expected}")

    def at_a_time(self, jobs: int | None) -> int | None:
        """Return how many tasks run at a time: what ``ray:TASKS`` or ``jobs`` gives, None if neither does.

        Raises:
            UserError: If both do, or ``jobs`` is no positive number.
        """
        if jobs is not None and jobs < 1:
            raise UserError(f"jobs: got {jobs}, expected a whole number of at least 1")
        if jobs is not None and self.tasks is not None and jobs != self.tasks:
            raise UserError(f"jobs: got {jobs} beside on ray:{self.tasks}, expected one of the two")
        return self.tasks if jobs is None else jobs
