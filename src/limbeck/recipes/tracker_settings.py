"""``output.trackers``: where a run's curves and figures go beside its folder."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from limbeck.errors import UserError, shortened, unknown_name
from limbeck.validation import Settings, validated

Text = Annotated[str, Field(min_length=1, max_length=1000)]


class TrackerSettings(Settings):
    """What every tracker's settings have.

    Example:
        >>> TrackerSettings(name="tensorboard").name
        'tensorboard'
    """

    name: str


class TensorBoardSettings(TrackerSettings):
    """TensorBoard's event files, in ``tensorboard`` of the run's folder.

    Example:
        >>> TensorBoardSettings().name
        'tensorboard'
    """

    name: Literal["tensorboard"] = "tensorboard"


class WandbSettings(TrackerSettings):
    """Weights & Biases.

    Attributes:
        project: The project that the runs are put in.
        entity: The user or team; None for the default of the account.
        mode: ``online``, or ``offline``: the run is written to ``wandb`` of the run's folder, for ``wandb sync``; None
            for what the environment variable ``WANDB_MODE`` names, and ``online`` without it.

    Example:
        >>> WandbSettings(mode="offline").project
        'limbeck'
    """

    name: Literal["wandb"] = "wandb"
    project: Text = "limbeck"
    entity: Text | None = None
    mode: Literal["online", "offline"] | None = None


class MlflowSettings(TrackerSettings):
    """MLflow.

    Attributes:
        uri: The tracking server or store; None for what the environment variable ``MLFLOW_TRACKING_URI`` names, and
            without it for ``mlflow.db`` (SQLite) in the folder of the run or of the comparison.
        experiment: The experiment that the runs are put in.

    Example:
        >>> MlflowSettings(uri="http://localhost:5000").experiment
        'limbeck'
    """

    name: Literal["mlflow"] = "mlflow"
    uri: Text | None = None
    experiment: Text = "limbeck"


_KINDS: dict[str, type[TrackerSettings]] = {
    "tensorboard": TensorBoardSettings,
    "wandb": WandbSettings,
    "mlflow": MlflowSettings,
}


def _one(value: Any) -> TrackerSettings:
    if isinstance(value, TrackerSettings):
        return value
    values = {"name": value} if isinstance(value, str) else value
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise UserError(f"got {shortened(value)}, expected names, or mappings with a name, of: {', '.join(_KINDS)}")
    if values["name"] not in _KINDS:
        raise unknown_name("tracker", values["name"], _KINDS)
    return validated(_KINDS[values["name"]], values, values["name"])


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        value = [name for part in value.split(",") if (name := part.strip())]
    given = tuple(map(_one, value if isinstance(value, list | tuple) else [value]))
    names = [settings.name for settings in given]
    if len(set(names)) < len(names):
        raise UserError(f"got {', '.join(names)}, expected each tracker once")
    return given


Trackers = Annotated[tuple[SerializeAsAny[TrackerSettings], ...], BeforeValidator(_listed)]
