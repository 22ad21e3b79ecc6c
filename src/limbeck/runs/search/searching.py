"""``limbeck search``: the best method and setting on a validation split, then measured once on the test split."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.build.checks import check_method
from limbeck.build.context import Context
from limbeck.build.proxies import has_proxies, trained_proxies
from limbeck.build.reporting import Reporting
from limbeck.build.shared import Shared
from limbeck.build.teachers import build_teacher
from limbeck.errors import UserError
from limbeck.files import write_atomically
from limbeck.randomness.seeding import generators_kept
from limbeck.recipes.loading import dump_recipe, load_recipe
from limbeck.recipes.method_settings import CompareSettings
from limbeck.recipes.schema import Recipe
from limbeck.runs.attempts import Tick
from limbeck.runs.compare import Comparison, compare_planned
from limbeck.runs.comparison_folder import ComparisonFolder
from limbeck.runs.costs import estimated
from limbeck.runs.executors import Executor, executor_of
from limbeck.runs.method_recipes import check_seeds, method_recipe
from limbeck.runs.pool import Pool
from limbeck.runs.prefill import prefill, shared_caches
from limbeck.runs.search.final import FOUND, RANDOM, data_note, labeled, notes, planned_runs
from limbeck.runs.search.folder import PLAN, TRIALS, SearchFolder, check_former
from limbeck.runs.search.folder import RANDOM as RANDOM_FOLDER
from limbeck.runs.search.halving import ROUND, Rung, affordable, rounds, rungs, total_epochs
from limbeck.runs.search.preparing import checked_space, final_recipe, trial_recipe, with_shared_logits
from limbeck.runs.search.space import Point, Space, make_space
from limbeck.runs.search.stage import Stage, Trainer
from limbeck.runs.search.study import FILE, Study, check_url, require_optuna
from limbeck.runs.search.table import trials_csv
from limbeck.runs.signals import terminates_as_interrupt

_MOST = 1000
_MINUTE = 60


@dataclass(frozen=True)
class Searched:
    """What a search found.

    Attributes:
        folder: Holds ``best.yaml``, ``trials.csv`` and the final table's folder ``final``.
        best: The chosen method and settings.
        figure: Their figure on the validation split.
        comparison: The final table, measured on the test split.
    """

    folder: Path
    best: Point
    figure: float
    comparison: Comparison


def search(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    jobs: int | None = None,
    on: str = "local",
    storage: str | None = None,
    reporting: Reporting | None = None,
    tick: Tick | None = None,
    trust: bool = False,
) -> Searched:
    """Search methods and settings on a validation split, and measure the best of them on the test split.

    Settings are drawn from the recipe's ``search``, trained on the training samples without the validation split, and
    compared at a sixteenth, a quarter and the end of the epochs, where about a quarter goes on each time; the learning
    rate follows the schedule of all epochs. The best one is trained anew with ``search.seeds`` seeds on all training
    samples, beside ``none``, ``kd`` and the best setting of a random search of as many epochs. The test split is
    measured for these alone. Needs the extra ``limbeck[search]``.

    Args:
        recipe: A YAML file, the name of a packaged recipe, a mapping, or a recipe.
        overrides: Values by dotted key, such as ``{"search.runs": 48}``.
        out: The folder; by default ``runs/NAME-search``.
        resume: Continue the search in the folder; the result is that of one that never stopped.
        overwrite: Delete the search in the folder, if there is one.
        jobs: As for :func:`limbeck.compare`.
        on: As for :func:`limbeck.compare`.
        storage: The URL of a database for Optuna's study; by default it is a file in the folder.
        reporting: Where lines and progress go; nowhere by default.
        tick: Called with how many epochs of how many are done.
        trust: Whether the recipe may name any ``python:`` function, see :func:`limbeck.recipes.trust.check_trust`.

    Returns:
        What was found; its files are in ``folder``.

    Raises:
        UserError: If anything given cannot be used, or Optuna is missing; nothing has been trained then.
        RunError: If a teacher's training fails, or that of every setting.
    """
    recipe = load_recipe(recipe, overrides, trust=trust)
    folder = SearchFolder(out or recipe.output.root / f"{recipe.name}-search", resume=resume, overwrite=overwrite)
    return _Search(recipe, folder, jobs, on, storage, reporting or Reporting(), tick).run()


class _Search:
    """One search."""

    def __init__(
        self,
        recipe: Recipe,
        folder: SearchFolder,
        jobs: int | None,
        on: str,
        storage: str | None,
        reporting: Reporting,
        tick: Tick | None,
    ) -> None:
        require_optuna()
        self.recipe, self.folder, self.reporting, self.tick = recipe, folder, reporting, tick
        self.storage = None if storage is None else check_url(storage)
        self.jobs, self.on, self.shared = jobs, on, Shared(keep_teachers=True)
        self.done = self.total = 0

    def run(self) -> Searched:
        """Prepare, search, and make the final table."""
        log = self.reporting.log
        self.folder.check()
        check_seeds(self.recipe.model_copy(update={"compare": CompareSettings(seeds=self.recipe.search.seeds)}))
        space = make_space(self.recipe)
        base = trial_recipe(self.recipe)
        space = checked_space(base, space, self.shared, log)
        base = with_shared_logits(base, space.methods, self.shared, log)
        chosen = self._executor(space)
        plan = self._plan(base, space)
        with terminates_as_interrupt(), generators_kept(), self.folder.held(self.recipe, plan), chosen as executor:
            return self._complete(base, space, plan, executor)

    def _executor(self, space: Space) -> Executor:
        compared = CompareSettings(methods=tuple(dict.fromkeys(("none", "kd", *space.methods))))
        whole = self.recipe.model_copy(update={"compare": compared})
        return executor_of(self.on, self.jobs, whole, ROUND, self.reporting.log)

    def _plan(self, base: Recipe, space: Space) -> dict[str, Any]:
        former, epochs, search = self.folder.former(self.recipe), base.training.epochs, self.recipe.search
        by_minutes = search.minutes is not None
        settings = former["settings"] if former and by_minutes else self._settings(base, space)
        planned = [rungs(epochs, count) for count in rounds(settings)]
        trained = sum(map(total_epochs, planned))
        control = int(min(max(1, trained // epochs), space.points)) if search.control else 0
        data = Context(base, self.shared).data
        assert data.validation is not None
        plan = {
            "settings": settings,
            "rounds": [[rung._asdict() for rung in of_round] for of_round in planned],
            "random": control,
            "seed": base.seed,
            "training": f"{len(data.train)} {data.unit}",
            "validation": f"{len(data.validation)} {data.unit}",
            "figure": f"validation.{Context(base, self.shared).task.primary.name}",
            "space": space.plain(),
            "storage": self._storage_name(),
        }
        if former is not None:
            check_former(plan, former, self.folder.path)
        return {**plan, "study": former["study"] if former else f"limbeck-{self.recipe.name}-{uuid.uuid4().hex[:8]}"}

    def _storage_name(self) -> str:
        if self.storage is None:
            return FILE
        from sqlalchemy.engine import make_url

        # Without the password.
        return make_url(self.storage).render_as_string()

    def _settings(self, base: Recipe, space: Space) -> int:
        """Return how many settings are tried: as many as were given, or as fit into the minutes."""
        search, epochs = self.recipe.search, base.training.epochs
        most = int(min(search.runs or (ROUND if search.minutes is None else _MOST), space.points))
        if search.minutes is None:
            return most
        contexts = {name: self._context(base, name) for name in space.methods}
        seconds = estimated(contexts).run
        longest = max(seconds.values())
        settings = affordable(_MINUTE * search.minutes / longest, epochs, most)
        if settings < 2:
            least = total_epochs(rungs(epochs, 2)) / epochs * longest / _MINUTE
            raise UserError(
                f"search.minutes: got {search.minutes:g}, but two settings take about {least:.2g}, expected more"
            )
        self.reporting.log(f"search: a run takes about {longest:.0f} s, so that {settings} settings fit")
        return settings

    def _context(self, base: Recipe, name: str) -> Context:
        return Context(method_recipe(base, name, base.seed), self.shared)

    def _complete(self, base: Recipe, space: Space, plan: Mapping[str, Any], executor: Executor) -> Searched:
        trials, control = self._stages(base, space, plan)
        baselines, further = self._baselines(base)
        rows = len(baselines) + (1 if control is None else 2)
        stages = [trials] if control is None else [trials, control]
        searched = sum(total_epochs(of_round) for stage in stages for of_round in stage.rounds)
        self.total = searched + rows * self.recipe.search.seeds * base.training.epochs
        self._announce(trials, control, plan, rows)
        self._train(base, space, stages, executor)
        best = trials.study.point(trials.best)
        value = trials.study.value(trials.best, trials.last)
        assert value is not None
        write_atomically(self.folder.path / "best.yaml", dump_recipe(best.recipe(final_recipe(self.recipe), base.seed)))
        # The final runs have other data, and with them another teacher.
        self.shared, self.done = Shared(), searched
        return Searched(self.folder.path, best, value, self._final(trials, control, plan, executor, baselines, further))

    def _stages(self, base: Recipe, space: Space, plan: Mapping[str, Any]) -> tuple[Stage, Stage | None]:
        metric = Context(base, self.shared).task.primary
        if metric.higher_is_better is None:
            raise UserError(f"search: the task's first metric, {metric.title}, has no direction to choose by")
        options = {"higher_is_better": metric.higher_is_better}
        where, name = self.storage or self.folder.path, str(plan["study"])
        planned = tuple(tuple(Rung(**rung) for rung in of_round) for of_round in plan["rounds"])
        study = Study(where, name, **options)
        trials = Stage("trials", base, space, study, self.folder.path / TRIALS, planned, metric, defaults=True)
        if not plan["random"]:
            return trials, None
        to_the_end = ((Rung(base.training.epochs, plan["random"]),),)
        study, folder = Study(where, f"{name}-random", **options), self.folder.path / RANDOM_FOLDER
        return trials, Stage("random", base, space, study, folder, to_the_end, metric, defaults=False)

    def _baselines(self, base: Recipe) -> tuple[list[str], list[str]]:
        """Return the methods that the chosen one stands beside, and a line about one that is missing."""
        context = self._context(base, "kd")
        try:
            check_method(context, context.student().module)
        except UserError as error:
            return ["none"], [f"without kd: {error}"]
        return ["none", "kd"], []

    def _announce(self, trials: Stage, control: Stage | None, plan: Mapping[str, Any], rows: int) -> None:
        log, epochs = self.reporting.log, sum(map(total_epochs, trials.rounds))
        halved = ", ".join(f"{rung.settings} to epoch {rung.epoch}" for rung in trials.rounds[0])
        several = f", in {len(trials.rounds)} rounds" if len(trials.rounds) > 1 else ""
        log(
            f"search: {plan['settings']} settings of {', '.join(trials.space.methods)}{several}: {halved};"
            f" {epochs} epochs, as many as {epochs / trials.last:.1f} runs"
        )
        log(f"trained on {plan['training']}, compared on {plan['validation']} for validation")
        random = f"{plan['random']} random settings to the end, then " if control is not None else ""
        log(f"after that: {random}{rows} rows x {self.recipe.search.seeds} seeds on all training data")

    def _train(self, base: Recipe, space: Space, stages: list[Stage], executor: Executor) -> None:
        def noted() -> None:
            write_atomically(self.folder.path / "trials.csv", trials_csv(stages))

        open_stages = [stage for stage in stages if not stage.complete]
        with executor.pool(ROUND, self.folder.path) as pool:
            if open_stages:
                self._share(base, space, pool)
            for stage in stages:
                Trainer(self.shared, pool, self.reporting.log, self._moved, noted).run(stage)
                if not stage.study.numbers():
                    raise UserError(f"search: no point of the space can be run, expected others: see {PLAN}")

    def _share(self, base: Recipe, space: Space, pool: Pool | None) -> None:
        """Make the teachers, and fill the logit caches that the trials read."""
        contexts = [self._context(base, name) for name in space.methods]
        by_source = {context.source: context for context in contexts}
        teachers = {source: build_teacher(context, self.reporting) for source, context in by_source.items()}
        if (weighing := next((context for context in contexts if has_proxies(context.recipe)), None)) is not None:
            trained_proxies(weighing, self.reporting)
        # Each is read by many trials, also where one method alone has it.
        for cache in shared_caches([context.recipe for context in contexts for _ in range(2)]):
            prefill(cache._replace(readers=ROUND), teachers, self.shared, self.reporting.log, pool)

    def _moved(self, epochs: int) -> None:
        self.done += epochs
        if self.tick:
            self.tick(self.done, self.total)

    def _final(
        self,
        trials: Stage,
        control: Stage | None,
        plan: Mapping[str, Any],
        executor: Executor,
        baselines: list[str],
        further: list[str],
    ) -> Comparison:
        chosen = {FOUND: trials.study.point(trials.best)}
        if control is not None:
            chosen[RANDOM] = control.study.point(control.best)
        folder = ComparisonFolder(self.folder.final, resume=True)
        folder.check()
        recipe, plans = planned_runs(self.recipe, folder, baselines, chosen)
        names = {label: labeled(point, recipe, label) for label, point in chosen.items()}
        validation = f"{plan['validation']} of the validation split"
        lines = [*notes(trials, control, validation, names), data_note(recipe), *further]
        before = self.done

        def tick(done: int, total: int) -> None:
            if self.tick:
                self.tick(before + done, before + total)

        return compare_planned(recipe, folder, plans, executor, self.reporting, tick, lines)
