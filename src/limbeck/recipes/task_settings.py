"""The group ``task`` of a recipe: what the networks are trained for, and the task's own settings."""

from typing import Any, Self

from pydantic import ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from limbeck import tasks
from limbeck.imports import python_names
from limbeck.validation import Settings


class TaskSettings(Settings):
    """A task by name; further keys are arguments of its class, such as ``ignore_index`` of segmentation.

    Without such keys it is written as a plain name.

    Example:
        >>> TaskSettings(name="segmentation", positions=512).options
        {'positions': 512}
        >>> TaskSettings().model_dump()
        'classification'
    """

    model_config = ConfigDict(extra="allow")

    name: str = "classification"

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of the task's class."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _known(self) -> Self:
        # Reading a recipe imports nothing that it names.
        if not python_names(self.name):
            tasks.registry.check_options(self.name, self.options)
        return self

    @model_serializer(mode="wrap")
    def _short(self, whole: SerializerFunctionWrapHandler) -> Any:
        return whole(self) if self.options else self.name
