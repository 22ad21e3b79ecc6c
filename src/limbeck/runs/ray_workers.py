"""Tasks on a Ray cluster, which gives those of a worker that died to another one."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from limbeck.errors import RunError, UserError, one_line
from limbeck.imports import optional_package
from limbeck.runs.ray_task import Surroundings, perform
from limbeck.runs.workers import WorkerDiedError

_log = logging.getLogger(__name__)
_TICK_SECONDS = 0.5
# For a checkpoint, as in processes of this machine; then for the end of those that did not stop.
_GRACE_SECONDS, _END_SECONDS = 20.0, 5.0
RETRIES = 3
"""So many times a task is begun again whose worker died; a run continues from its checkpoint then."""


class RayWorkers:
    """Workers of the Ray cluster that this process is connected to; as :class:`limbeck.runs.workers.Workers`.

    A task whose worker dies, or whose machine is lost, is given to another worker, up to three times; then it fails.
    When the block ends by an exception, the tasks are interrupted, which lets a training save first, and ended if they
    do not stop within 20 seconds. When this process dies, Ray ends its tasks.

    Args:
        cpus: How many CPU cores a task takes.
        gpus: How many GPUs.
        count: How many tasks the cluster has room for.
        most: How many tasks at a time; None for as many as the cluster takes, also where it grows.
        surroundings: What the workers have in common with this process.

    Example:
        >>> RayWorkers(1.0, 0.0, 4, None, Surroundings()).count
        4
    """

    def __init__(self, cpus: float, gpus: float, count: int, most: int | None, surroundings: Surroundings) -> None:
        self.count = count if most is None else min(count, most)
        self._options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": RETRIES}
        self._most, self._surroundings = most, surroundings
        self._busy: dict[Any, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._cancel()

    def finished(self, work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Mapping[int, Any]]:
        """Do ``work(*task)`` for every task, each in a free worker.

        Args:
            work: A function of a module that the workers can import.
            tasks: The arguments of each call.

        Yields:
            At least twice a second the results that came since, by the task's position; for a task whose workers died
            again and again a :class:`limbeck.runs.workers.WorkerDiedError` in place of the result. An exception that
            ``work`` raises is raised here.

        Raises:
            UserError: If a worker does not share this process's folders, or has other versions.
            RunError: If the cluster is lost.
        """
        ray = _ray()
        remote, waiting = ray.remote(perform).options(**self._options), deque(enumerate(tasks))
        surroundings = ray.put(self._surroundings)
        while waiting or self._busy:
            while waiting and (self._most is None or len(self._busy) < self._most):
                number, task = waiting.popleft()
                self._busy[remote.remote(surroundings, work, task)] = number
            done, _ = ray.wait(list(self._busy), timeout=_TICK_SECONDS)
            yield {self._busy.pop(reference): _result(ray, reference) for reference in done}

    def _cancel(self) -> None:
        ray, running = _ray(), list(self._busy)
        self._busy.clear()
        # The connection may be what failed.
        with suppress(ray.exceptions.RayError, ConnectionError):
            for force, seconds in ((False, _GRACE_SECONDS), (True, _END_SECONDS)):
                for reference in running:
                    ray.cancel(reference, force=force)
                if running:
                    _, running = ray.wait(running, num_returns=len(running), timeout=seconds)


def _ray() -> Any:
    return optional_package("ray", "ray", "on: ray")


def _result(ray: Any, reference: Any) -> Any:
    errors = ray.exceptions
    try:
        return ray.get(reference)
    except errors.RayTaskError as error:
        if isinstance(error.cause, UserError | RunError):
            raise error.cause from None
        _log.debug("a task failed", exc_info=True)
        raise RunError(f"a task of the Ray cluster failed: {one_line(error.cause)}") from error
    except errors.OutOfMemoryError:
        return WorkerDiedError(f"its worker was ended {RETRIES + 1} times as its machine ran out of memory")
    except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError):
        return WorkerDiedError(f"its worker died {RETRIES + 1} times, as when memory runs out")
    except errors.RayError as error:
        raise RunError(f"the Ray cluster failed: {one_line(error)}") from error
