"""Which trackers a recipe has, whether their packages are there, and how one is opened for a run."""

from pathlib import Path
from typing import Any

from limbeck.errors import UserError, one_line, shortened
from limbeck.imports import optional_package
from limbeck.recipes.schema import Recipe
from limbeck.recipes.tracker_settings import MlflowSettings, TrackerSettings, WandbSettings
from limbeck.reporting import Log
from limbeck.runs.trackers.ml_flow import MLflow, client, experiment_id, local_store
from limbeck.runs.trackers.tensor_board import TensorBoard
from limbeck.runs.trackers.tracker import Tracked, Tracker
from limbeck.runs.trackers.weights_and_biases import WeightsAndBiases, wandb_mode

# A local store of MLflow needs a database, which its smaller package leaves out.
_PACKAGES = {"tensorboard": ("tensorboard",), "wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


def check_trackers(recipe: Recipe) -> None:
    """Check that the packages of a recipe's trackers are there, and that Weights & Biases has an account to log to.

    Raises:
        UserError: If a package or the account is missing.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> check_trackers(load_recipe("quickstart"))
    """
    for settings in recipe.output.trackers:
        for package in _PACKAGES[settings.name]:
            optional_package(package, settings.name, f"output.trackers: {settings.name}")
        if isinstance(settings, WandbSettings):
            _check_account(settings)


def _check_account(settings: WandbSettings) -> None:
    if wandb_mode(settings) != "online":
        return
    import wandb

    if not wandb.login(prompt=False):
        ways = "expected `wandb login`, WANDB_API_KEY, or mode: offline"
        raise UserError(f"output.trackers: wandb: no account is set up on this machine, {ways}")


def opened(settings: TrackerSettings, tracked: Tracked, state: dict[str, Any]) -> Tracker:
    """Open a tracker for a run.

    Args:
        settings: The tracker's settings.
        tracked: The run.
        state: What is stored about the tracker with the run: ``sent`` epochs, and ``id``.

    Raises:
        Exception: Of any kind, if the tracker cannot be used.
    """
    if isinstance(settings, WandbSettings):
        return WeightsAndBiases(settings, tracked, state.get("id"))
    if isinstance(settings, MlflowSettings):
        return MLflow(settings, tracked, state.get("id"))
    return TensorBoard(tracked, int(state.get("sent", 0)))


def comparison_recipe(recipe: Recipe, folder: Path, log: Log) -> Recipe:
    """Return a comparison's recipe with one local store of MLflow for all its runs, made before the first of them.

    Args:
        recipe: That of the comparison.
        folder: The comparison's folder.
        log: Called with a line if the store cannot be made.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> recipe = load_recipe("quickstart")
        >>> comparison_recipe(recipe, Path("runs/table"), print) is recipe
        True
    """
    if not any(isinstance(settings, MlflowSettings) for settings in recipe.output.trackers):
        return recipe
    trackers = tuple(_with_store(settings, folder, log) for settings in recipe.output.trackers)
    return recipe.model_copy(update={"output": recipe.output.model_copy(update={"trackers": trackers})})


def _with_store(settings: TrackerSettings, folder: Path, log: Log) -> TrackerSettings:
    if not isinstance(settings, MlflowSettings):
        return settings
    stored = settings.model_copy(update={"uri": settings.uri or local_store(folder)})
    try:
        # Two processes that make the tables of the same file disturb each other.
        experiment_id(client(str(stored.uri)), stored)
    except Exception as error:
        log(f"warning: output.trackers: mlflow: {shortened(one_line(error), 300, quoted=False)}")
    return stored
