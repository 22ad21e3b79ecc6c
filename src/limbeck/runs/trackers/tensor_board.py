"""TensorBoard, by the logger of Lightning Fabric."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from limbeck.runs.trackers.tracker import Row, Tracked, Tracker, finals, points


class TensorBoard(Tracker):
    """Event files in ``tensorboard`` of the run's folder; see :class:`Tracker`.

    Raises:
        OSError: If they cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> tracker = TensorBoard(Tracked(folder, "kd", "mine"))
        >>> tracker.curves([{"epoch": 1, "train.loss": 0.5}])
        >>> tracker.close(complete=True)
        >>> [file.name.split(".")[0] for file in (folder / "tensorboard").iterdir()]
        ['events']
    """

    def __init__(self, tracked: Tracked, sent: int = 0) -> None:
        self._settings, self._step = dict(tracked.settings), sent
        # What a killed run wrote beyond what it noted as sent is dropped by the reader.
        self._logger = TensorBoardLogger(tracked.folder, "tensorboard", "", purge_step=sent + 1)

    def curves(self, rows: Sequence[Row]) -> None:
        """Add rows of ``metrics.csv``."""
        for row in rows:
            self._step = int(row["epoch"])
            self._logger.log_metrics(points(row), step=self._step)
        self._logger.save()

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Set what ``summary.json`` holds: as text, and with the recipe under the hyperparameters."""
        self._logger.experiment.add_text("summary", f"```\n{json.dumps(dict(summary), indent=2)}\n```", self._step)
        self._logger.log_hyperparams(self._settings, finals(summary), step=self._step)

    def table(self, rows: Sequence[Mapping[str, str]], markdown: str) -> None:
        """Set the table of a comparison, as text."""
        self._logger.experiment.add_text("comparison", markdown)

    def close(self, *, complete: bool) -> None:
        """Close the files."""
        self._logger.finalize("success" if complete else "failed")
