"""The search space of a recipe, and its points: a method with settings, and settings of the training."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck import methods
from limbeck.errors import UserError, shortened, unknown_name
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.runs.method_recipes import method_recipe
from limbeck.runs.search.defaults import METHODS, RANGES
from limbeck.runs.search.dimensions import Choice, Dimension, Plain, Range, dimension, is_range
from limbeck.training.settings import WITHOUT_EFFECT

METHOD, TRAINING = "method", "training"
# What decides the budget, or where and how precisely a training is computed, is no setting to choose by its figure.
_NOT_SEARCHED = frozenset(
    {
        "epochs",
        "device",
        "precision",
        "channels_last",
        "compile",
        "keep",
        "patience",
        "min_gain",
        "temperature_scaling",
        *WITHOUT_EFFECT,
    }
)


@dataclass(frozen=True)
class Point:
    """One setting of everything that is searched.

    Attributes:
        method: The method.
        settings: Its settings by dotted key, such as ``temperature``, or ``dist.beta`` in a composition.
        training: Settings of the training by dotted key, such as ``optimizer.lr``.

    Example:
        >>> point = Point.of({"method": "kd", "kd.temperature": 2.0, "training.optimizer.lr": 0.05})
        >>> point.text
        'kd: temperature 2, training.optimizer.lr 0.05'
    """

    method: str
    settings: Mapping[str, Plain]
    training: Mapping[str, Plain]

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "Point":
        """Read the parameters of an Optuna trial."""
        name = str(params[METHOD])
        return cls(name, _below(params, name), _below(params, TRAINING))

    @property
    def text(self) -> str:
        """It in one line."""
        settings = {**self.settings, **{f"{TRAINING}.{key}": value for key, value in self.training.items()}}
        parts = [f"{key} {_shown(value)}" for key, value in settings.items()]
        return f"{self.method}: {', '.join(parts)}" if parts else self.method

    def recipe(self, base: Recipe, seed: int) -> Recipe:
        """Return the recipe of a run.

        Args:
            base: The search's recipe; what it sets for the method beside the point holds too.
            seed: The run's seed.

        Raises:
            UserError: If the point's settings do not go together.

        Example:
            >>> run = Point("kd", {"temperature": 2.0}, {"optimizer.lr": 0.05}).recipe(load_recipe("quickstart"), 3)
            >>> run.method.composed.settings["kd"]["temperature"], run.training.optimizer.lr, run.seed
            (2.0, 0.05, 3)
        """
        changes = {f"method.{key}": value for key, value in self.settings.items()}
        changes |= {f"{TRAINING}.{key}": value for key, value in self.training.items()}
        # The search's own recipe has been checked for what it names.
        return load_recipe(method_recipe(base, self.method, seed), changes, trust=True)


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        settings: The dimensions of each method, by dotted key.
        training: Those of the training.
    """

    settings: Mapping[str, Mapping[str, Dimension]]
    training: Mapping[str, Dimension]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods."""
        return tuple(self.settings)

    @property
    def points(self) -> float:
        """How many points it has; infinity with a range of fractions."""
        own = sum(math.prod(d.points for d in dimensions.values()) for dimensions in self.settings.values())
        return own * math.prod(d.points for d in self.training.values())

    def suggest(self, trial: Any) -> Point:
        """Draw a point from an Optuna trial."""
        params: dict[str, Plain] = {METHOD: trial.suggest_categorical(METHOD, self.methods)}
        for name, d in self._named(str(params[METHOD])):
            params[name] = d.suggest(trial, name)
        return Point.of(params)

    def default(self, method: str, base: Recipe) -> dict[str, Plain]:
        """Return the parameters of a method as the recipe has it; without those that lie outside the space."""
        recipe = method_recipe(base, method, base.seed)
        params: dict[str, Plain] = {METHOD: method}
        for name, d in self._named(method):
            group, _, key = (
                name.partition(".") if name.startswith(f"{TRAINING}.") else (method, "", name[len(method) + 1 :])
            )
            value = _looked_up(recipe.training.model_dump() if group == TRAINING else _settings(recipe), key)
            if value in d:
                params[name] = value
        return params

    def without(self, left_out: Sequence[str]) -> "Space":
        """Return the space of the other methods."""
        return Space({name: d for name, d in self.settings.items() if name not in left_out}, self.training)

    def plain(self) -> dict[str, Any]:
        """Return it as a recipe writes it."""
        of_methods = {name: {k: d.plain() for k, d in ds.items()} for name, ds in self.settings.items()}
        return {"settings": of_methods, TRAINING: {key: d.plain() for key, d in self.training.items()}}

    def _named(self, method: str) -> Iterator[tuple[str, Dimension]]:
        yield from ((f"{method}.{key}", d) for key, d in self.settings[method].items())
        yield from ((f"{TRAINING}.{key}", d) for key, d in self.training.items())


def make_space(recipe: Recipe) -> Space:
    """Make the search space of a recipe, every end of it checked.

    Raises:
        UserError: If a method or setting is unknown, a value out of range, or there is nothing to choose.

    Example:
        >>> make_space(load_recipe("quickstart", {"search.methods": "kd"})).plain()["settings"]["kd"]["alpha"]
        {'low': 0.3, 'high': 1.0, 'log': False}
        >>> make_space(load_recipe("quickstart", {"search.settings.kd.heat": [1, 2]}))
        Traceback (most recent call last):
        limbeck.errors.UserError: search.settings.kd.heat: unknown setting 'heat'. Valid: alpha, temperature
    """
    search = recipe.search
    chosen = search.methods or tuple(dict.fromkeys((*METHODS, *search.settings)))
    for name in search.settings:
        if name not in chosen:
            raise UserError(f"search.settings: {unknown_name('method', name, chosen)} (search.methods)")
    training = {key: _training_dimension(recipe, key, value) for key, value in _leaves(search.training)}
    space = Space({name: dict(_of_method(recipe, name)) for name in chosen}, training)
    if space.points < 2:
        only = Point.of({METHOD: chosen[0]}).text
        raise UserError(
            f"search: got a space of one point ({only}), expected several choices, a range, or more methods"
        )
    return space


def _of_method(recipe: Recipe, name: str) -> Iterator[tuple[str, Dimension]]:
    given = recipe.search.settings.get(name)
    where = f"search.settings.{name}"
    # Its name and what the recipe sets for it are checked before anything is tried.
    base = method_recipe(recipe, name, recipe.seed)
    valid = _keys(base)
    if given is None:
        if "+" in name or name not in RANGES:
            raise UserError(
                f"{where}: not given, expected choices or ranges: there are defaults for {', '.join(RANGES)}"
            )
        given = dict(RANGES[name])
    for key, value in _leaves(given):
        if key not in valid:
            raise UserError(f"{where}.{key}: {unknown_name('setting', key, valid)}")
        yield key, _checked(recipe, dimension(value, f"{where}.{key}"), f"{where}.{key}", name, key)


def _keys(recipe: Recipe) -> set[str]:
    """Return the settings that a method has: of a composition each also below the name of its part."""
    settings = recipe.method.composed.settings
    plain = {key for values in settings.values() for key in values}
    return plain if len(settings) == 1 else plain | {f"{t}.{key}" for t, values in settings.items() for key in values}


def _training_dimension(recipe: Recipe, key: str, value: Any) -> Dimension:
    where = f"search.{TRAINING}.{key}"
    if key.partition(".")[0] in _NOT_SEARCHED:
        raise UserError(f"{where}: got {shortened(value)}, expected another key: this one is no choice by a figure")
    return _checked(recipe, dimension(value, where), where, None, key)


def _checked(recipe: Recipe, given: Dimension, where: str, method: str | None, key: str) -> Dimension:
    """Check every end of a dimension, and whether its numbers are whole ones."""
    kept: list[Any] = []
    for value in given.ends:
        own = {key: value}
        point = Point(method, own, {}) if method else Point(METHODS[0], {}, own)
        try:
            made = point.recipe(recipe, recipe.seed)
            kept.append(_looked_up(_settings(made) if method else made.training.model_dump(), key))
        except UserError as error:
            raise UserError(f"{where}: {str(error).removeprefix('method: ')}") from None
    if isinstance(given, Choice):
        return given
    whole = all(isinstance(value, int) for value in kept)
    return Range(int(given.low), int(given.high), given.log, whole=True) if whole else given


def _settings(recipe: Recipe) -> dict[str, Any]:
    method: methods.Method = recipe.method.composed
    plain = {key: value for values in reversed(tuple(method.settings.values())) for key, value in values.items()}
    return {**plain, **(method.settings if len(method.settings) > 1 else {})}


def _looked_up(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _leaves(group: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dimensions of nested settings by dotted key."""
    for key, value in group.items():
        if isinstance(value, Mapping) and not is_range(value):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _below(params: Mapping[str, Any], group: str) -> dict[str, Plain]:
    return {key[len(group) + 1 :]: value for key, value in params.items() if key.startswith(f"{group}.")}


def _shown(value: Plain) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
