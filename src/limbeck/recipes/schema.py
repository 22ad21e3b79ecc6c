"""A recipe: the whole of a run, as validated settings."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from limbeck.recipes.data_settings import DataSettings
from limbeck.recipes.fields import Seed, UserPath
from limbeck.recipes.method_settings import CompareSettings, MethodSettings
from limbeck.recipes.network_settings import ModelSettings, TeacherSettings
from limbeck.recipes.ray_settings import RaySettings
from limbeck.recipes.search_settings import SearchSettings
from limbeck.recipes.task_settings import TaskSettings
from limbeck.recipes.tracker_settings import Trackers
from limbeck.training import TrainingSettings
from limbeck.training.settings import named
from limbeck.validation import Settings

# Method, seed and what marks a temporary file stand in the same name, of which most file systems take 255 bytes.
_LONGEST_NAME = 100
Source = Literal["live", "self", "lightweight", "virtual"]


class OutputSettings(Settings):
    """Where results go, and where trained teachers are kept for later runs.

    Attributes:
        root: The folder in which runs get a folder each.
        cache: Where trained teachers and stored logits are kept; None for the user's cache folder.
        trackers: Where curves and figures go too: ``tensorboard``, ``wandb``, ``mlflow``, each a name or a mapping with
            its settings.

    Example:
        >>> OutputSettings().root
        PosixPath('runs')
        >>> OutputSettings(trackers="tensorboard, mlflow").trackers[1].experiment
        'limbeck'
    """

    root: UserPath = Path("runs")
    cache: UserPath | None = None
    trackers: Trackers = ()


class Recipe(Settings):
    """The whole of a run; see :func:`load_recipe`.

    Example:
        >>> recipe = Recipe.model_validate({"data": "fashion_mnist_sample", "student": "resnet8", "method": "none"})
        >>> recipe.training.epochs
        30
    """

    name: Annotated[str, Field(min_length=1)] = "run"
    task: TaskSettings = TaskSettings()
    data: DataSettings
    teacher: TeacherSettings = TeacherSettings()
    student: ModelSettings
    method: MethodSettings = MethodSettings()
    training: TrainingSettings = TrainingSettings()
    compare: CompareSettings = CompareSettings()
    search: SearchSettings = SearchSettings()
    ray: RaySettings = RaySettings()
    output: OutputSettings = OutputSettings()
    seed: Seed = 0

    @field_validator("name")
    @classmethod
    def _within_root(cls, name: str) -> str:
        # Run folders are named after it: it must not lead out of output.root.
        if name in (".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name):
            raise ValueError("expected the name of a folder, without / and \\ and control characters")
        if len(name.encode()) > _LONGEST_NAME:
            raise ValueError(f"expected a name of at most {_LONGEST_NAME} bytes")
        return name

    @model_validator(mode="before")
    @classmethod
    def _names_as_groups(cls, values: Any) -> Any:
        if isinstance(values, dict):
            groups = ("task", "data", "teacher", "student", "method")
            return {key: named(value) if key in groups else value for key, value in values.items()}
        return values

    @property
    def view_seed(self) -> int:
        """The seed of the student's views: ``data.view_seed``, by default the run's."""
        return self.seed if self.data.view_seed is None else self.data.view_seed

    def source(self) -> Source | None:
        """Return the kind of teacher that the run needs: ``teacher.source``, else the method's, else a live one."""
        needed = self.method.composed.teacher
        if needed is None or needed == "virtual":
            return needed
        if self.teacher.source != "auto":
            return self.teacher.source
        return "live" if needed == "any" else needed
