"""Worker processes that make the batches of an epoch: of a DataLoader, and kept between epochs if wanted."""

import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from limbeck.errors import RunError, UserError, shortened
from limbeck.processes import end_with_parent

_PER_CORE, _ALWAYS_ALLOWED = 4, 16
_GRACE_SECONDS = 20.0
Request = tuple[int, int, list[int]]
"""The seed and the epoch of a batch's views, and the positions of its samples."""
Made = TypeVar("Made")


def check_workers(workers: int) -> None:
    """Refuse a number of worker processes that would only take the machine's memory.

    Raises:
        UserError: If it is negative, or more than 16 and more than 4 for each CPU core.

    Example:
        >>> check_workers(1_000_000)
        Traceback (most recent call last):
        limbeck.errors.UserError: data.workers: got 1000000, expected 0 to ... (4 for each CPU core, at least 16)
    """
    most = max(_PER_CORE * (os.cpu_count() or 1), _ALWAYS_ALLOWED)
    if not 0 <= workers <= most:
        limits = f"{_PER_CORE} for each CPU core, at least {_ALWAYS_ALLOWED}"
        raise UserError(f"data.workers: got {shortened(workers, 20)}, expected 0 to {most} ({limits})")


class Workers(Generic[Made]):
    """Makes batches from requests, in this process or in workers.

    Every epoch starts its own workers, unless they are kept between :meth:`keep` and :meth:`close`. The epoch travels
    to the workers with each request, so that a view is the same in either case.

    Args:
        dataset: Makes what a request stands for; it returns its errors, since an error raised in a worker comes back
            with the worker's traceback in its text.
        workers: How many processes work; 0 for this one.
        pin: Whether what they make is copied into pinned memory, for a GPU.

    Raises:
        UserError: If the number of workers is out of range.

    Example:
        >>> class Sums(Dataset):
        ...     def __getitem__(self, request):
        ...         return request[0] + sum(request[2])
        >>> list(Workers(Sums()).made([(0, 0, [1, 2]), (1, 0, [3])]))
        [3, 4]
    """

    def __init__(self, dataset: Dataset[Made], workers: int = 0, *, pin: bool = False) -> None:
        check_workers(workers)
        self._dataset, self._workers, self._pin = dataset, workers, pin
        self._requests: list[Request] = []
        self._kept: DataLoader[Made] | None = None
        self._current: Iterator[Made] | None = None
        self._keeping = False

    def keep(self) -> None:
        """Keep the workers of the next epoch until :meth:`close`."""
        self._keeping = self._workers > 0

    def close(self) -> None:
        """End the workers that were kept, also those of an epoch under way."""
        # Nothing else refers to the loader's iterator, whose end is the end of its workers.
        self._keeping, self._current, self._kept = False, None, None

    def made(self, requests: Sequence[Request]) -> Iterator[Made]:
        """Yield what each request stands for.

        Raises:
            RunError: If the workers are ended meanwhile.
        """
        # Kept workers serve one epoch at a time.
        if self._keeping and self._current is None:
            yield from self._by_kept_workers(requests)
        else:
            yield from self._loader(requests, keep=False)

    def _by_kept_workers(self, requests: Sequence[Request]) -> Iterator[Made]:
        self._requests[:] = requests
        self._kept = self._kept or self._loader(self._requests, keep=True)
        self._current = iter(self._kept)
        try:
            for _ in requests:
                if self._current is None:
                    raise RunError("the workers were ended while an epoch was under way")
                yield next(self._current)
        finally:
            self._current = None

    def _loader(self, requests: Sequence[Request], *, keep: bool) -> DataLoader[Made]:
        sampler: Any = requests
        return DataLoader(
            self._dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=self._workers,
            persistent_workers=keep,
            pin_memory=self._pin,
            # One of its own, since a DataLoader draws from the global generator otherwise.
            generator=torch.Generator(),
            # By itself a worker whose parent dies while it starts would wait for ever.
            worker_init_fn=partial(_begin, os.getpid()),
        )


def _begin(parent: int, _: int) -> None:
    # What stops a training comes to every process of its group, and the update under way needs its batch: a worker ends
    # with its parent, or when its parent ends it, or a little later.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: signal.setitimer(signal.ITIMER_REAL, _GRACE_SECONDS))
    end_with_parent(parent)
