"""Weights & Biases."""

import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.recipes.tracker_settings import WandbSettings
from limbeck.runs.trackers.tracker import Row, Tracked, Tracker, points

# A run that is complete waits no longer than this for a server that is gone; `wandb sync` sends the rest.
_FINISH_SECONDS = 60
# The program's code and the machine are no figures of a run.
_NOT_SENT = {"disable_git": True, "disable_code": True, "x_disable_stats": True, "x_save_requirements": False}


class WeightsAndBiases(Tracker):
    """A run of a project of Weights & Biases; see :class:`Tracker`.

    Raises:
        Exception: If the run cannot be opened there, of wandb's own kinds.
    """

    def __init__(self, settings: WandbSettings, tracked: Tracked, id: str | None = None) -> None:
        import wandb

        self.id: str = id or uuid.uuid4().hex[:16]
        self._table = wandb.Table
        self._run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            mode=wandb_mode(settings),
            dir=tracked.folder,
            id=self.id,
            name=tracked.name,
            group=tracked.group,
            config=dict(tracked.settings),
            allow_val_change=True,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", finish_timeout=_FINISH_SECONDS, **_NOT_SENT),
        )

    def curves(self, rows: Sequence[Row]) -> None:
        """Add rows of ``metrics.csv``."""
        for row in rows:
            self._run.log(points(row), step=int(row["epoch"]), commit=True)

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Set what ``summary.json`` holds."""
        self._run.summary.update({f"final/{key}": value for key, value in summary.items()})

    def table(self, rows: Sequence[Mapping[str, str]], markdown: str) -> None:
        """Set the table of a comparison."""
        columns: list[str | int] = [*rows[0]]
        self._run.log({"comparison": self._table(columns=columns, data=[list(row.values()) for row in rows])})
        self._run.summary["comparison.markdown"] = markdown

    def close(self, *, complete: bool) -> None:
        """Send what is left, and end the run there."""
        self._run.finish(exit_code=0 if complete else 1)


def wandb_mode(settings: WandbSettings) -> Any:
    """Return ``online``, ``offline`` or ``disabled``.

    Example:
        >>> wandb_mode(WandbSettings(mode="offline"))
        'offline'
    """
    # wandb itself reads the variable once in a process.
    return settings.mode or os.environ.get("WANDB_MODE") or "online"
