"""A stage of a search: rounds of settings, trained from rung to rung by one process or several."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.build.context import Context
from limbeck.build.reporting import Reporting
from limbeck.build.shared import Shared
from limbeck.errors import RunError, UserError
from limbeck.randomness.hashing import derived_seed
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log, no_log
from limbeck.runs.folder import RunFolder
from limbeck.runs.pool import Pool
from limbeck.runs.search.halving import Rung
from limbeck.runs.search.space import Point, Space
from limbeck.runs.search.study import Study, draw, first_points
from limbeck.runs.search.trial import Part, drop_checkpoints, spent, train_in_worker, train_to
from limbeck.runs.workers import WorkerDiedError
from limbeck.tasks import Metric
from limbeck.training import EpochMeter, Position

_STREAM = 17
Moved = Callable[[int], None]


@dataclass(frozen=True)
class Stage:
    """Settings that are trained on the same samples, and compared on the same validation split.

    Attributes:
        name: What its trials are called, ``trials`` or ``random``; also their folder.
        recipe: The trials' recipe.
        space: What they are drawn from.
        study: Where they are kept.
        folder: The folder of their run folders.
        rounds: The rungs of each round.
        metric: The figure on the validation split.
        defaults: Whether the first settings are those that the recipe has for each method.
    """

    name: str
    recipe: Recipe
    space: Space
    study: Study
    folder: Path
    rounds: tuple[tuple[Rung, ...], ...]
    metric: Metric
    defaults: bool

    def run_folder(self, number: int) -> RunFolder:
        """Return the folder of a trial."""
        return RunFolder(self.folder / f"{number:03}")

    def trial_recipe(self, number: int) -> Recipe:
        """Return the recipe of a trial; all have one seed, so that their initial students and views are equal."""
        return self.study.point(number).recipe(self.recipe, self.recipe.seed)

    def drawn(self, group: int) -> list[int]:
        """Return the trials of a round, which are drawn unless that was done before."""
        count, before = self.rounds[group][0].settings, sum(rungs[0].settings for rungs in self.rounds[:group])
        defaults = [self.space.default(name, self.recipe) for name in self.space.methods] if self.defaults else []
        history = self.study.history(before) if group else []
        seed = derived_seed(self.recipe.seed, _STREAM, group, int(self.defaults)) % 2**32
        first = first_points(self.space, count, defaults) if not group else []
        points = draw(
            self.space,
            count,
            seed=seed,
            valid=self._valid,
            first=first,
            history=history,
            direction=self.study.direction,
        )
        return self.study.extend(points, group)

    def _valid(self, point: Point) -> bool:
        try:
            point.recipe(self.recipe, self.recipe.seed)
        except UserError:
            return False
        return True

    @property
    def complete(self) -> bool:
        """Whether every trial of every round has ended."""
        numbers = self.study.numbers()
        known = {self.study.trial(number).user_attrs.get("round") for number in numbers}
        return len(known) == len(self.rounds) and all(self.study.state(number) != "running" for number in numbers)

    @property
    def last(self) -> int:
        """The last rung's epoch."""
        return self.rounds[-1][-1].epoch

    @property
    def best(self) -> int:
        """The trial with the best figure after the last epoch.

        Raises:
            RunError: If none was trained to it.
        """
        ordered = self.study.ordered(self.study.numbers(), self.last)
        if not ordered:
            reasons = [reason for number in self.study.numbers() if (reason := self.study.reason(number))]
            raise RunError(f"{self.name}: none was trained to the last epoch; the first failed: {reasons[0]}")
        return ordered[0]


@dataclass(frozen=True)
class Trainer:
    """What trains the trials of a stage.

    Attributes:
        shared: What this process has built for the search.
        pool: The processes that trials run in; None for this one alone.
        log: Called with a line for each trial and rung.
        moved: Called with how many further epochs are done.
        noted: Called when trials came to a rung, or were stopped on the way.
    """

    shared: Shared
    pool: Pool | None
    log: Log
    moved: Moved
    noted: Callable[[], None]

    def run(self, stage: Stage) -> None:
        """Train a stage's rounds, as far as that was not done before."""
        for group, planned in enumerate(stage.rounds):
            present, before = stage.drawn(group), 0
            for place, rung in enumerate(planned):
                try:
                    self._train(stage, present, rung, before)
                finally:
                    # For each trial it would take longer than a short training, with hundreds of trials.
                    self.noted()
                ordered = stage.study.ordered(present, rung.epoch)
                following = planned[place + 1 :]
                present = ordered[: following[0].settings] if following else []
                for number in ordered:
                    self._end(stage, number, rung, goes_on=number in present)
                if following:
                    self.log(f"epoch {rung.epoch}: {len(present)} of {len(ordered)} {stage.name} go on")
                before = rung.epoch
            self.noted()

    def _end(self, stage: Stage, number: int, rung: Rung, *, goes_on: bool) -> None:
        if goes_on:
            return
        value = stage.study.value(number, rung.epoch)
        assert value is not None
        if rung.epoch == stage.last:
            stage.study.complete(number, value)
        else:
            stage.study.stop(number)
        drop_checkpoints(stage.run_folder(number))

    def _train(self, stage: Stage, numbers: Sequence[int], rung: Rung, before: int) -> None:
        waiting = [n for n in numbers if stage.study.state(n) == "running" and stage.study.value(n, rung.epoch) is None]
        self.moved((rung.epoch - before) * (len(numbers) - len(waiting)))
        for number, part in self._parts(stage, waiting, rung.epoch, before):
            if part.value is None:
                stage.study.fail(number, part.reason)
                drop_checkpoints(stage.run_folder(number))
            else:
                stage.study.report(number, rung.epoch, part.value)
            figure = f"failed: {part.reason}"
            if part.value is not None:
                figure = f"validation {stage.metric.title} {stage.metric.text(part.value)} at epoch {rung.epoch}"
            self.log(f"{stage.name} {number}, {stage.study.point(number).text}: {figure}")

    def _parts(self, stage: Stage, numbers: Sequence[int], epoch: int, before: int) -> Iterator[tuple[int, Part]]:
        if self.pool is None:
            for number in numbers:
                ticks = _Ticks(self.moved, spent(stage.run_folder(number))[0] - before)
                context = Context(stage.trial_recipe(number), self.shared)
                part = train_to(context, stage.run_folder(number), epoch, Reporting(no_log, ticks))
                self.moved(epoch - before - ticks.done)
                yield number, part
            return
        tasks = [(_values(stage.trial_recipe(n)), stage.run_folder(n).path, epoch) for n in numbers]
        for finished in self.pool.finished(train_in_worker, tasks):
            self.moved(0)
            for place, part in finished.items():
                self.moved(epoch - before)
                died = isinstance(part, WorkerDiedError)
                yield numbers[place], Part(None, str(part)) if died else part


def _values(recipe: Recipe) -> dict[str, object]:
    return recipe.model_dump(mode="json", exclude={"compare", "search"})


class _Ticks:
    """Counts the epochs of a trial."""

    def __init__(self, moved: Moved, done: int) -> None:
        self.moved, self.done = moved, max(0, done)
        moved(self.done)

    def step(self, position: Position, meter: EpochMeter) -> None:
        """Count nothing."""

    def epoch(self, row: dict[str, float], epochs: int) -> None:  # noqa: ARG002
        """Count an epoch."""
        self.done += 1
        self.moved(1)
