"""The trials of a search, kept by Optuna: their points, their figures at the rungs, and how they ended."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limbeck.errors import UserError, first_line
from limbeck.imports import optional_package
from limbeck.runs.search.space import METHOD, Point, Space

FILE = "study.journal"
# Of a space of few points many draws repeat each other.
_DRAWS = 200
_URL_SCHEMES = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")


def require_optuna() -> Any:
    """Import Optuna, whose own reports of each trial stay off.

    Raises:
        UserError: If it is missing.

    Example:
        >>> require_optuna().__name__
        'optuna'
    """
    optuna = optional_package("optuna", "search", "limbeck search")
    logging.getLogger("optuna").setLevel(logging.WARNING)
    return optuna


class Study:
    """The trials of one search, in a file of its folder or in a database.

    Args:
        storage: The folder of the file, or the URL of a database such as ``postgresql://host/name``.
        name: The study's name there.
        higher_is_better: The direction of the figure.

    Raises:
        UserError: If the storage cannot be opened.

    Example:
        >>> import tempfile
        >>> study = Study(Path(tempfile.mkdtemp()), "letters", higher_is_better=True)
        >>> study.numbers()
        []
    """

    def __init__(self, storage: Path | str, name: str, *, higher_is_better: bool) -> None:
        self.optuna, self.higher_is_better = require_optuna(), higher_is_better
        self.direction = "maximize" if higher_is_better else "minimize"
        with _named_storage(storage):
            self._storage = self._opened(storage)
            options = {"storage": self._storage, "study_name": name, "direction": self.direction}
            self._study = self.optuna.create_study(**options, load_if_exists=True)
            self._id = self._storage.get_study_id_from_name(name)
        self._read: list[Any] | None = None

    def _opened(self, storage: Path | str) -> Any:
        storages = self.optuna.storages
        if isinstance(storage, Path):
            # A text file that is only appended to: reading it runs no code.
            return storages.JournalStorage(storages.journal.JournalFileBackend(str(storage / FILE)))
        return storages.RDBStorage(storage)

    @property
    def _trials(self) -> list[Any]:
        """The trials as Optuna has them, read once after each change: nothing else writes to the study meanwhile."""
        if self._read is None:
            # Optuna would copy every trial at every reading; here none is changed.
            self._read = self._study.get_trials(deepcopy=False)
        return self._read

    def trial(self, number: int) -> Any:
        """Return a trial as Optuna has it; it must stay as it is."""
        return self._trials[number]

    def numbers(self) -> list[int]:
        """List the trials."""
        return [trial.number for trial in self._trials]

    def point(self, number: int) -> Point:
        """Return what a trial tries."""
        return Point.of(self.trial(number).params)

    def value(self, number: int, epoch: int) -> float | None:
        """Return a trial's figure at a rung; None if it has not come there."""
        value: float | None = self.trial(number).intermediate_values.get(epoch)
        return value

    def state(self, number: int) -> str:
        """Return how a trial stands: ``running``, ``complete``, ``stopped`` at a rung, or ``failed``."""
        states = {"COMPLETE": "complete", "PRUNED": "stopped", "FAIL": "failed"}
        return states.get(self.trial(number).state.name, "running")

    def reason(self, number: int) -> str:
        """Return why a trial failed; empty for others."""
        return str(self.trial(number).user_attrs.get("reason", ""))

    def extend(self, trials: Sequence[Any], group: int) -> list[int]:
        """Add drawn trials as those of a round, unless an earlier call has done that, and return their numbers."""
        present = self._of_round(group)
        # A search that was killed in between has the first of them.
        for drawn in trials[len(present) :]:
            state, attributes = self.optuna.trial.TrialState.RUNNING, {"round": group}
            options = {"params": drawn.params, "distributions": drawn.distributions, "user_attrs": attributes}
            self._study.add_trial(self.optuna.trial.create_trial(state=state, **options))
        self._read = None
        return self._of_round(group)

    def _of_round(self, group: int) -> list[int]:
        return [trial.number for trial in self._trials if trial.user_attrs.get("round") == group]

    def report(self, number: int, epoch: int, value: float) -> None:
        """Store a trial's figure at a rung."""
        self._storage.set_trial_intermediate_value(self._identity(number), epoch, value)
        self._read = None

    def stop(self, number: int) -> None:
        """End a trial at the rung that it has come to."""
        self._tell(number, self.optuna.trial.TrialState.PRUNED)

    def complete(self, number: int, value: float) -> None:
        """End a trial after its last epoch."""
        self._tell(number, self.optuna.trial.TrialState.COMPLETE, value)

    def fail(self, number: int, reason: str) -> None:
        """End a trial that failed."""
        if self.state(number) == "running":
            self._storage.set_trial_user_attr(self._identity(number), "reason", reason)
        self._tell(number, self.optuna.trial.TrialState.FAIL)

    def _tell(self, number: int, state: Any, value: float | None = None) -> None:
        self._study.tell(number, value, state=state, skip_if_finished=True)
        self._read = None

    def _identity(self, number: int) -> Any:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def ordered(self, numbers: Sequence[int], epoch: int) -> list[int]:
        """Return the trials that have come to a rung, the best first; of equal ones the earlier."""
        values = {number: value for number in numbers if (value := self.value(number, epoch)) is not None}
        return sorted(values, key=lambda n: (-values[n] if self.higher_is_better else values[n], n))

    def history(self, before: int) -> list[Any]:
        """Return the ended trials of earlier rounds, which a sampler learns from."""
        return [trial for trial in self._trials if trial.state.is_finished() and trial.number < before]


def draw(
    space: Space,
    count: int,
    *,
    seed: int,
    valid: Callable[[Point], bool],
    first: Sequence[Mapping[str, Any]] = (),
    history: Sequence[Any] = (),
    direction: str = "maximize",
) -> list[Any]:
    """Draw different points of a space: at random, or by Optuna's TPE where there are earlier trials to learn from.

    Args:
        space: The space.
        count: How many points; fewer are returned where the space has no more.
        seed: The same seed, space and history give the same points.
        valid: Whether a point can be run.
        first: Parameters, or some of them, of the first points.
        history: Ended trials.
        direction: ``maximize`` or ``minimize`` the trials' figures.

    Returns:
        Trials of Optuna with the points' parameters.

    Example:
        >>> from limbeck.runs.search.dimensions import Choice
        >>> space = Space({"kd": {"temperature": Choice((1, 2))}}, {})
        >>> drawn = draw(space, 9, seed=0, valid=lambda point: True)
        >>> sorted(trial.params["kd.temperature"] for trial in drawn)
        [1, 2]
    """
    optuna = require_optuna()
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1) if history else None
    study = optuna.create_study(direction=direction, sampler=sampler or optuna.samplers.RandomSampler(seed=seed))
    study.add_trials(history)
    for params in first[:count]:
        study.enqueue_trial(dict(params))
    drawn: dict[str, Any] = {}
    for _ in range(_DRAWS + _DRAWS * count):
        if len(drawn) == min(count, space.points):
            break
        trial = study.ask()
        point = space.suggest(trial)
        if valid(point):
            drawn.setdefault(repr(sorted(trial.params.items())), study.get_trials(deepcopy=False)[trial.number])
    return list(drawn.values())


def first_points(space: Space, count: int, defaults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return how the first points begin: every method as the recipe has it, then the methods in turn.

    Example:
        >>> first_points(Space({"kd": {}, "dist": {}}, {}), 3, [{"method": "kd"}, {"method": "dist"}])
        [{'method': 'kd'}, {'method': 'dist'}, {'method': 'kd'}]
    """
    turns = ({METHOD: space.methods[place % len(space.methods)]} for place in range(len(defaults), count))
    return [*map(dict, defaults), *turns]


@contextmanager
def _named_storage(storage: Path | str) -> Iterator[None]:
    """Raise whatever goes wrong with a storage as one line, without the password that its URL may hold."""
    name = str(storage / FILE) if isinstance(storage, Path) else storage.partition("://")[0]
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # drivers of databases have errors of their own
        where = f"search storage {name}"
        text = first_line(error).replace(str(storage), name)[:300]
        raise UserError(f"{where}: cannot be opened ({type(error).__name__}: {text})") from None


def check_url(url: str) -> str:
    """Return the URL of a storage.

    Raises:
        UserError: If it is none that Optuna takes.

    Example:
        >>> check_url("here.db")
        Traceback (most recent call last):
        limbeck.errors.UserError: storage: got 'here.db', expected a URL such as sqlite:///FILE or postgresql://HOST/NAME
    """
    scheme = url.partition("://")[0].partition("+")[0]
    if "://" not in url or scheme not in _URL_SCHEMES:
        got = url if "@" not in url else f"{url.partition('://')[0]}://..."
        raise UserError(f"storage: got {got!r}, expected a URL such as sqlite:///FILE or postgresql://HOST/NAME")
    return url
