"""How many runs train at a time."""

from limbeck.errors import UserError
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.runs.local_names import local_names
from limbeck.runs.workers import cores
from limbeck.training import resolve_device
from limbeck.training.processes import check_one_process


def jobs_at_a_time(requested: int | None, recipe: Recipe, runs: int, log: Log) -> int:
    """Decide how many processes train the runs of a comparison.

    Args:
        requested: What the user gave, if anything.
        recipe: The comparison's recipe.
        runs: How many runs there are.
        log: Called with a line where one process alone can train them.

    Raises:
        UserError: If several were given, and the recipe names what was registered in this process alone; or if each run
            has several processes itself.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> jobs_at_a_time(2, load_recipe("quickstart"), 1, print)
        1
    """
    if requested is not None and requested < 1:
        raise UserError(f"jobs: got {requested}, expected a whole number of at least 1")
    check_one_process(recipe.training)
    on_cpu = resolve_device(recipe.training.device) == "cpu"
    count = min(requested or (cores() if on_cpu else 1), runs)
    if count == 1 or not (local := local_names(recipe)):
        return count
    reason = f"{', '.join(local)} was registered in this process, which worker processes do not see"
    advice = "an installed plug-in or python:MODULE:NAME works in every process"
    if requested:
        raise UserError(f"jobs: got {requested}, but {reason}; expected 1 ({advice})")
    log(f"one run at a time: {reason} ({advice})")
    return 1
