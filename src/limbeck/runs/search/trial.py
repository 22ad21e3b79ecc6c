"""One trial: a setting trained to a rung, where its checkpoint stays."""

import csv
import logging
import shutil
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from limbeck.build.context import Context
from limbeck.build.reporting import Reporting
from limbeck.errors import RunError, UserError, shortened
from limbeck.randomness.seeding import generators_kept
from limbeck.recipes.loading import load_recipe
from limbeck.runs.folder import RunFolder
from limbeck.runs.resuming import decide_start
from limbeck.runs.session import Session
from limbeck.runs.workers import shared_in_worker

_log = logging.getLogger(__name__)
_REASON_LENGTH = 300


class Part(NamedTuple):
    """What a trial reached.

    Attributes:
        value: The figure on the validation split; None if the training failed.
        reason: Why it failed, in one line.
    """

    value: float | None
    reason: str = ""


def train_to(context: Context, folder: RunFolder, epoch: int, reporting: Reporting) -> Part:
    """Train a trial to an epoch, from where it stopped; an exception in it is its outcome.

    Args:
        context: The trial's run.
        folder: Its folder.
        epoch: The epoch, from 1.
        reporting: Where lines and progress go.
    """
    column = f"validation.{context.task.primary.name}"
    try:
        # A search that was killed may have come there without noting it.
        if (value := recorded(folder, epoch, column)) is not None:
            return Part(value)
        with generators_kept(), folder.held():
            start = decide_start(folder, context.recipe, resume=True, overwrite=False)
            record = Session(context, context.student(), folder, reporting).train_until(start, epoch)
        return Part(record[epoch - 1][column])
    except (UserError, RunError) as error:
        return Part(None, shortened(str(error), _REASON_LENGTH, quoted=False))
    except Exception as error:
        _log.debug("%s failed", folder.path, exc_info=True)
        with suppress(RunError):
            folder.log(traceback.format_exc())
        return Part(None, shortened(f"{type(error).__name__}: {error}", _REASON_LENGTH, quoted=False))


def train_in_worker(values: Mapping[str, Any], folder: Path, epoch: int) -> Part:
    """Train a trial to an epoch in a worker process, with the data and the teachers that the process has.

    Args:
        values: The trial's recipe, which the search has checked.
        folder: The trial's folder.
        epoch: The epoch, from 1.
    """
    context = Context(load_recipe(values, trust=True), shared_in_worker())
    return train_to(context, RunFolder(folder), epoch, Reporting())


def recorded(folder: RunFolder, epoch: int, column: str) -> float | None:
    """Return the figure that a trial had after an epoch; None if it has not come there.

    Example:
        >>> recorded(RunFolder("nowhere"), 2, "validation.accuracy") is None
        True
    """
    rows = _rows(folder)
    return rows[epoch - 1].get(column) if len(rows) >= epoch else None


def spent(folder: RunFolder) -> tuple[int, float]:
    """Return how many epochs a trial was trained, and for how many seconds.

    Example:
        >>> spent(RunFolder("nowhere"))
        (0, 0.0)
    """
    rows = _rows(folder)
    return len(rows), sum((row.get("seconds", 0.0) for row in rows), 0.0)


def _rows(folder: RunFolder) -> list[dict[str, float]]:
    """Return the figures of each epoch; none where they are not there, or damaged."""
    path = folder.path / "metrics.csv"
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    except (OSError, TypeError, ValueError, csv.Error):
        return []


def drop_checkpoints(folder: RunFolder) -> None:
    """Delete the checkpoints of a trial that has ended."""
    shutil.rmtree(folder.checkpoint.parent, ignore_errors=True)
