"""The end of a search: the chosen setting trained on all training data, beside none, kd and the control."""

from collections.abc import Mapping, Sequence

from limbeck.recipes.method_settings import CompareSettings
from limbeck.recipes.schema import Recipe
from limbeck.runs.attempts import Planned
from limbeck.runs.comparison_folder import ComparisonFolder
from limbeck.runs.folder import RunFolder, folder_name
from limbeck.runs.method_recipes import method_recipe
from limbeck.runs.search.halving import total_epochs
from limbeck.runs.search.preparing import chooses, final_recipe
from limbeck.runs.search.space import Point
from limbeck.runs.search.stage import Stage
from limbeck.validation import validated

FOUND, RANDOM = "found", "random"


def labeled(point: Point, recipe: Recipe, label: str) -> str:
    """Name the row of a chosen setting: a method without settings stands there without a label.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> labeled(Point("kd", {"temperature": 2.0}, {}), load_recipe("quickstart"), FOUND)
        'kd@found'
    """
    settings = method_recipe(recipe, point.method, recipe.seed).method.composed.settings
    return f"{point.method}@{label}" if any(settings.values()) else point.method


def planned_runs(
    recipe: Recipe, folder: ComparisonFolder, baselines: Sequence[str], chosen: Mapping[str, Point]
) -> tuple[Recipe, list[Planned]]:
    """Plan the runs of the final table.

    Args:
        recipe: The search's recipe.
        folder: The folder of the table.
        baselines: Methods that stand there as the recipe has them.
        chosen: The chosen settings by their labels.

    Returns:
        The recipe of the comparison, and its runs.
    """
    base = final_recipe(recipe)
    rows = {labeled(point, base, label): point for label, point in chosen.items()}
    names = tuple(dict.fromkeys((*baselines, *rows)))
    plans = []
    for seed in range(base.seed, base.seed + recipe.search.seeds):
        for name in names:
            run = rows[name].recipe(base, seed) if name in rows else method_recipe(base, name, seed)
            plans.append(Planned(name, run, RunFolder(folder.path / folder_name(name) / f"seed-{seed}")))
    settings = {plan.name: _written(plan.recipe) for plan in plans if plan.name in rows and "@" in plan.name}
    values = {
        "methods": names,
        "seeds": recipe.search.seeds,
        "settings": {**recipe.compare.model_dump(mode="json")["settings"], **settings},
    }
    return base.model_copy(update={"compare": validated(CompareSettings, values, "compare")}), plans


def _written(recipe: Recipe) -> dict[str, object]:
    """Return every setting of a run's method, as a comparison's recipe has it."""
    settings = recipe.model_dump(mode="json")["method"]
    composed = recipe.method.composed.settings
    given = {key: value for key, value in settings.items() if key != "name"}
    return given or {key: value for values in composed.values() for key, value in values.items()}


def notes(trials: Stage, control: Stage | None, validation: str, names: Mapping[str, str]) -> list[str]:
    """List what was chosen on what, a line each.

    Args:
        trials: The search.
        control: The random search, if there is one.
        validation: What the settings were compared on.
        names: The rows' names by label.
    """
    figure = f"validation {trials.metric.title}"
    lines = [
        f"{names[FOUND]}: the best of {_count(trials)} settings by the {figure} on {validation}, {_halved(trials)};"
        f" chosen: {_described(trials)}"
    ]
    if control is not None:
        lines.append(
            f"{names[RANDOM]}: a control, the best of {_count(control)} settings drawn at random from the same space"
            f" and trained to the end ({_epochs(control)} epochs), by the same {figure}; chosen: {_described(control)}"
        )
    return lines


def data_note(recipe: Recipe) -> str:
    """Describe what the runs of the final table were trained on."""
    data = (
        "the training samples beside the recipe's own validation split" if chooses(recipe) else "all training samples"
    )
    return f"the settings alone were chosen; the runs of this table were trained anew, on {data}"


def _count(stage: Stage) -> int:
    return len(stage.study.numbers())


def _epochs(stage: Stage) -> int:
    return sum(total_epochs(rungs) for rungs in stage.rounds)


def _halved(stage: Stage) -> str:
    planned = stage.rounds[0]
    rungs = ", ".join(f"{rung.settings} to epoch {rung.epoch}" for rung in planned)
    several = f"{len(stage.rounds)} rounds of " if len(stage.rounds) > 1 else ""
    runs = _epochs(stage) / stage.last
    return f"by successive halving ({several}{rungs}; {_epochs(stage)} epochs, as many as {runs:.1f} runs)"


def _described(stage: Stage) -> str:
    value = stage.study.value(stage.best, stage.last)
    assert value is not None
    return f"{stage.study.point(stage.best).text} ({stage.metric.text(value)})"
