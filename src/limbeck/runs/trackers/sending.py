"""The trackers of one run: each row is sent once, and a tracker that fails ends nothing but itself."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from limbeck.errors import one_line, shortened
from limbeck.files import write_atomically
from limbeck.randomness.seeding import generators_kept
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.runs.resuming import flat
from limbeck.runs.trackers.opening import opened
from limbeck.runs.trackers.tracker import Row, Tracked, Tracker

STATE = "trackers.json"
_REASON_LENGTH = 300


class RunTrackers:
    """The trackers that a recipe has, for one run or one comparison.

    ``trackers.json`` in its folder has, by tracker, how many epochs were sent and what the tracker calls the run, so
    that a resumed run continues its curves, and a tracker that is new to it receives them from the first epoch. A
    tracker that cannot be opened or fails is a line of the log: it receives nothing more, and the run goes on. The
    random generators stay as they are.

    Args:
        recipe: The recipe of the run or of the comparison.
        folder: Its folder, which exists when they are opened.
        name: What it is called in a tracker, such as :func:`run_name` of the folder.
        log: Called with a line for each tracker that fails.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> with RunTrackers(load_recipe("quickstart"), Path("runs/kd"), "kd", print) as trackers:
        ...     trackers.open()
        ...     trackers.curves([{"epoch": 1, "train.loss": 0.5}])
    """

    def __init__(self, recipe: Recipe, folder: Path, name: str, log: Log) -> None:
        self.recipe, self.folder, self.name, self.log = recipe, folder, name, log
        self._state: dict[str, dict[str, Any]] = {}
        self._open: dict[str, Tracker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._each(lambda _, tracker: tracker.close(complete=kind is None))

    def open(self) -> None:
        """Open all of them."""
        if not self.recipe.output.trackers:
            return
        self._state = _read(self.folder / STATE)
        tracked = Tracked(self.folder, self.name, self.recipe.name, _settings(self.recipe))
        for settings in self.recipe.output.trackers:
            state = self._state.setdefault(settings.name, {"sent": 0, "id": None})
            with self._failure_logged(settings.name), generators_kept():
                tracker = self._open[settings.name] = opened(settings, tracked, state)
                state["id"] = tracker.id
        self._write()

    def curves(self, record: Sequence[Row]) -> None:
        """Send the rows of ``metrics.csv`` that a tracker does not have yet.

        Args:
            record: All rows so far.
        """
        self._each(lambda name, tracker: self._send(record, name, tracker))
        self._write()

    def _send(self, record: Sequence[Row], name: str, tracker: Tracker) -> None:
        rows = [row for row in record if row["epoch"] > self._state[name]["sent"]]
        tracker.curves(rows)
        self._state[name]["sent"] += len(rows)

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Send what ``summary.json`` holds."""
        self._each(lambda _, tracker: tracker.summary(summary))

    def table(self, rows: Sequence[Mapping[str, str]], markdown: str) -> None:
        """Send a comparison's table, as its cells and as Markdown."""
        self._each(lambda _, tracker: tracker.table(rows, markdown))

    def _each(self, act: Callable[[str, Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            with self._failure_logged(name), generators_kept():
                act(name, tracker)

    @contextmanager
    def _failure_logged(self, name: str) -> Iterator[None]:
        """Leave out a tracker that fails in the block, with a line in the log."""
        try:
            yield
        except Exception as error:  # a tracker's library may raise anything
            self._open.pop(name, None)
            why = shortened(one_line(error), _REASON_LENGTH, quoted=False)
            self.log(f"warning: output.trackers: {name} receives nothing more, the run goes on: {why}")

    def _write(self) -> None:
        if self._state:
            write_atomically(self.folder / STATE, json.dumps(self._state, indent=2) + "\n")


def _settings(recipe: Recipe) -> dict[str, Any]:
    return dict(flat(recipe.model_dump(mode="json", exclude={"output"})))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return what is stored about each tracker; nothing where the file is missing or damaged."""
    try:
        stored = json.loads(path.read_bytes())
        return {name: {"sent": int(state["sent"]), "id": state["id"]} for name, state in stored.items()}
    except (OSError, ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return {}


def run_name(folder: Path) -> str:
    """Name a run in a tracker by its folder, with the method's in a comparison.

    Example:
        >>> run_name(Path("runs/mine-kd-seed0")), run_name(Path("runs/table/kd@hot/seed-1"))
        ('mine-kd-seed0', 'kd@hot/seed-1')
    """
    return f"{folder.parent.name}/{folder.name}" if folder.name.startswith("seed-") else folder.name
