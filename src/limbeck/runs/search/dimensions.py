"""One dimension of a search space: choices, or a range of numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck.errors import UserError, shortened

Plain = str | float | bool | None
_KEYS = {"low", "high", "log"}


@dataclass(frozen=True)
class Choice:
    """A setting that has one of several values.

    Example:
        >>> Choice((1, 4)).points, Choice((1, 4)).ends, 4 in Choice((1, 4))
        (2, (1, 4), True)
    """

    values: tuple[Plain, ...]

    @property
    def points(self) -> float:
        """How many values there are."""
        return len(self.values)

    @property
    def ends(self) -> tuple[Plain, ...]:
        """The values that a check of the dimension tries."""
        return self.values

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def suggest(self, trial: Any, name: str) -> Plain:
        """Draw a value from an Optuna trial."""
        value: Plain = trial.suggest_categorical(name, self.values)
        return value

    def plain(self) -> Any:
        """Return it as a recipe writes it."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """A setting that has a number between two, both included; ``whole`` numbers alone, or drawn on a ``log`` scale.

    Example:
        >>> Range(1, 8, whole=True).points, 4.0 in Range(1.0, 8.0, log=True)
        (8, True)
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def points(self) -> float:
        """How many values there are; infinity for fractions."""
        return self.high - self.low + 1 if self.whole else math.inf

    @property
    def ends(self) -> tuple[Plain, ...]:
        """The values that a check of the dimension tries."""
        return (self.low, self.high)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def suggest(self, trial: Any, name: str) -> Plain:
        """Draw a value from an Optuna trial."""
        draw = trial.suggest_int if self.whole else trial.suggest_float
        value: float = draw(name, self.low, self.high, log=self.log)
        return value

    def plain(self) -> Any:
        """Return it as a recipe writes it."""
        return {"low": self.low, "high": self.high, "log": self.log}


Dimension = Choice | Range


def is_range(value: object) -> bool:
    """Return whether a value of a recipe is a range, and not a group of settings.

    Example:
        >>> is_range({"low": 1, "high": 2}), is_range({"dist": {"beta": [1, 2]}})
        (True, False)
    """
    return isinstance(value, Mapping) and ("low" in value or "high" in value)


def dimension(value: Any, where: str) -> Dimension:
    """Read one dimension as a recipe writes it.

    Args:
        value: A list of choices, ``{low: .., high: .., log: ..}``, or a single value.
        where: Its key, which begins the line of an error.

    Raises:
        UserError: If it is neither, a choice is no plain value, or a range is empty.

    Example:
        >>> dimension({"low": 1, "high": 8, "log": True}, "search.settings.kd.temperature")
        Range(low=1, high=8, log=True, whole=False)
        >>> dimension({"low": 8, "high": 1}, "search.settings.kd.temperature")
        Traceback (most recent call last):
        limbeck.errors.UserError: search.settings.kd.temperature: got a range from 8 to 1, expected low below high
    """
    if is_range(value):
        return _range(value, where)
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not values:
        raise UserError(f"{where}: got an empty list, expected choices, or a range such as {{low: 1, high: 8}}")
    for entry in values:
        if not (entry is None or isinstance(entry, str | bool | int | float)):
            raise UserError(f"{where}: got {shortened(entry)}, expected numbers, words, true, false or null")
    if len(set(map(repr, values))) < len(values):
        raise UserError(f"{where}: got {shortened(list(values))}, expected each value once")
    return Choice(values)


def _range(value: Mapping[str, Any], where: str) -> Range:
    if unknown := sorted(set(map(str, value)) - _KEYS):
        raise UserError(f"{where}: got the key {shortened(unknown[0])}, expected low, high and log alone")
    low, high, log = value.get("low"), value.get("high"), value.get("log", False)
    for number in (low, high):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise UserError(f"{where}: got {shortened(dict(value))}, expected numbers as low and high")
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    if not isinstance(log, bool):
        raise UserError(f"{where}.log: got {shortened(log)}, expected true or false")
    if not low < high:
        raise UserError(f"{where}: got a range from {low:g} to {high:g}, expected low below high")
    if log and low <= 0:
        raise UserError(f"{where}: got a log range from {low:g}, expected low above 0")
    return Range(low, high, log)
