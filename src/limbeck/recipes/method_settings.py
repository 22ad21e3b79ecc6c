"""The groups ``method`` and ``compare`` of a recipe: one method, or several to be compared, with their settings."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from limbeck import methods
from limbeck.errors import UserError, shortened
from limbeck.imports import python_names
from limbeck.validation import Settings, validated

_MOST_SEEDS = 10_000


class MethodSettings(Settings):
    """A method by name or composition; further keys are its settings.

    Example:
        >>> MethodSettings(name="lr+dist", eta=0.7).composed.settings["lr"]["eta"]
        0.7
    """

    model_config = ConfigDict(extra="allow")

    name: str = "kd"

    @model_validator(mode="after")
    def _known(self) -> Self:
        # The composition is the validation, and is run as it is. Reading a recipe imports nothing that it names.
        if not python_names(self.name):
            _ = self.composed
        return self

    @cached_property
    def composed(self) -> methods.Method:
        """The method that these settings stand for, composed once; this imports a ``python:`` name in it."""
        return methods.create(self.name, **(self.model_extra or {}))


def without_label(name: str) -> str:
    """Return the method that a name in a comparison stands for.

    Example:
        >>> without_label("lr+dist@hot")
        'lr+dist'
    """
    return name.partition("@")[0]


class CompareSettings(Settings):
    """What ``limbeck compare`` runs: methods, each with its own settings, and seeds.

    A method stands there once more with other settings under a label: ``kd@hot`` has the settings of ``kd``, and those
    that ``settings`` gives for ``kd@hot`` on top.

    Example:
        >>> compared = CompareSettings(methods=("none", "kd", "kd@hot"), settings={"kd@hot": {"temperature": 8}})
        >>> compared.method("kd@hot").composed.settings["kd"]["temperature"]
        8.0
    """

    methods: tuple[str, ...] = ("none", "kd", "dist")
    seeds: Annotated[int, Field(ge=1, le=_MOST_SEEDS)] = 1
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("methods", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> Self:
        repeated = [name for name in self.methods if self.methods.count(name) > 1]
        if repeated or not self.methods:
            got = shortened(", ".join(self.methods), 200, quoted=False) or "none"
            raise UserError(f"methods: got {got}, expected each of at least one once")
        for name in self.methods:
            self._check_label(name)
        _ = self._by_name
        return self

    @cached_property
    def _by_name(self) -> dict[str, MethodSettings]:
        # Settings may stand there for methods that this comparison leaves out.
        return {name: self._validated(name, {}) for name in dict.fromkeys((*self.methods, *self.settings))}

    def _check_label(self, name: str) -> None:
        base, at, label = name.partition("@")
        if at and not base:
            raise UserError(f"methods: got {shortened(name)}, expected a method's name in front of the @")
        if at and not re.fullmatch(r"[\w-]{1,50}", label):
            raise UserError(
                f"methods: got {shortened(name)}, expected letters, digits, _ and - behind the @ (up to 50)"
            )
        if at and not self.settings.get(name):
            raise UserError(f"settings.{name}: not given, expected what {name} has other than {without_label(name)}")

    def method(self, name: str, defaults: Mapping[str, Any] | None = None) -> MethodSettings:
        """Return the settings of one of the methods.

        Args:
            name: The method's name, with its label if it has one.
            defaults: Settings that hold where this comparison gives none.

        Raises:
            UserError: If the method, or a setting of it, is unknown or out of range.
        """
        if not defaults and name in self._by_name:
            return self._by_name[name]
        return self._validated(name, defaults or {})

    def _validated(self, name: str, defaults: Mapping[str, Any]) -> MethodSettings:
        base = without_label(name)
        settings = _merged(defaults, self.settings.get(base, {})) | self.settings.get(name if name != base else "", {})
        return validated(MethodSettings, {"name": base, **settings}, f"settings.{name}" if settings else "")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            merged[key] = _merged(below[key], above[key])
    return merged
