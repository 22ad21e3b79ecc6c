"""Turn pydantic's findings into the one clear line that a user is shown."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from itertools import chain
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from limbeck.errors import UserError, shortened, unknown_name

# Numbers of a dataclass among a model's fields: there too True does not pass for 1.
Whole = Annotated[int, Field(strict=True)]
Real = Annotated[float, Field(strict=True)]


def _kinds(annotation: Any) -> list[Any]:
    """List the types that an annotation is made of."""
    return [annotation, *chain.from_iterable(_kinds(part) for part in get_args(annotation))]


class Settings(BaseModel):
    """Base of every validated group of settings: immutable, and no unknown key passes.

    Attributes:
        former_keys: Keys of earlier versions that are still read, each with its present name.
        former_values: Values of earlier versions that are still read, by key, each with its present form.

    Example:
        >>> class Crop(Settings):
        ...     padding: int = 4
        >>> Crop(padding=2)
        Crop(padding=2)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    former_keys: ClassVar[Mapping[str, str]] = {}
    former_values: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _present_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not (cls.former_keys.keys() | cls.former_values.keys()) & values.keys():
            return values
        present = {cls.former_keys.get(key, key): value for key, value in values.items()}
        for key, forms in cls.former_values.items():
            if isinstance(present.get(key), str):
                present[key] = forms.get(present[key], present[key])
        return present

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Python takes True for 1, and so would ``epochs: true``.
        several = isinstance(value, list | tuple)
        if any(isinstance(entry, bool) for entry in (value if several else [value])):
            kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
            if (int in kinds or float in kinds) and bool not in kinds:
                raise ValueError("input should be numbers" if several else "input should be a number")
        return value


Model = TypeVar("Model", bound=BaseModel)
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_PLAIN_TYPES = frozenset({"bool", "float", "int", "str"})


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """List the keys beside the last part of ``path``."""
    for part in path[:-1]:
        field = model.model_fields.get(str(part))
        kinds = [kind for kind in _kinds(field.annotation) if isinstance(kind, type)] if field else []
        if known := [kind for kind in kinds if is_dataclass(kind)]:
            return list(dict.fromkeys(field.name for kind in known for field in fields(kind)))
        model = next((kind for kind in kinds if issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def _within(group: str, message: str, fields: list[str]) -> str:
    """Put a group's name before a check's own message, which may begin with one of the group's keys."""
    if not group:
        return message
    last = f"{group.rpartition('.')[2]}."
    key = message.partition(":")[0].partition(".")[0]
    names_key = key in fields or message.startswith(last)
    return f"{group}.{message.removeprefix(last)}" if names_key else f"{group}: {message}"


def _names_type(part: str) -> bool:
    return "[" in part or part[:1].isupper() or part in _PLAIN_TYPES


def _line(model: type[BaseModel], error: ValidationError, where: str) -> UserError:
    # A misspelt key often leaves another one missing: the misspelling is the mistake to report.
    first = min(error.errors(include_url=False), key=lambda entry: entry["type"] not in _UNKNOWN)
    # Names of union members and of types appear in the path too; a key of a recipe is what the user wrote.
    is_unknown = first["type"] in _UNKNOWN
    last = len(first["loc"]) - 1
    path = tuple(
        part
        for place, part in enumerate(first["loc"])
        # An unknown key is what the user wrote even where it looks like a type, such as ``Seed``.
        if (is_unknown and place == last) or not (isinstance(part, str) and _names_type(part))
    )
    keys = [shortened(str(part), quoted=False) for part in path if part != ""]
    group = ".".join([where, *keys] if where else keys)
    name = group or "the settings"
    if is_unknown:
        return UserError(f"{name}: {unknown_name('key', path[-1], _fields_at(model, path))}")
    if first["type"] == "missing":
        return UserError(f"{name}: missing, expected a value")
    if isinstance(first.get("ctx", {}).get("error"), UserError):
        return UserError(_within(group, str(first["ctx"]["error"]), _fields_at(model, (*path, ""))))
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return UserError(f"{name}: got {shortened(first['input'])}, {message[0].lower()}{message[1:]}")


@contextmanager
def one_line_errors(model: type[BaseModel], where: str = "") -> Iterator[None]:
    """Raise pydantic's error about a model in the block as a ``UserError`` of one line.

    Args:
        model: The model that is built in the block.
        where: What its keys belong to; it begins the line.

    Example:
        >>> with one_line_errors(Settings):
        ...     Settings(color="red")
        Traceback (most recent call last):
        limbeck.errors.UserError: color: unknown key 'color'. Valid: none
    """
    try:
        yield
    except ValidationError as error:
        raise _line(model, error, where) from None


def validated(model: type[Model], values: Mapping[str, Any], where: str = "") -> Model:
    """Build ``model`` from ``values``.

    Args:
        model: The pydantic model.
        values: What was given.
        where: What the keys belong to; it begins the line of an error.

    Returns:
        The validated model.

    Raises:
        UserError: One line that names the key, the value and what is expected.

    Example:
        >>> class Crop(Settings):
        ...     padding: int = 4
        >>> validated(Crop, {"pading": 2}, "augment")
        Traceback (most recent call last):
        limbeck.errors.UserError: augment.pading: unknown key 'pading'; did you mean 'padding'? Valid: padding
        >>> validated(Crop, {"padding": "wide"})
        Traceback (most recent call last):
        limbeck.errors.UserError: padding: got 'wide', input should be a valid integer, ...
    """
    with one_line_errors(model, where):
        return model.model_validate(dict(values))


class _Arguments(Settings):
    model_config = ConfigDict(arbitrary_types_allowed=True)


def arguments(function: Callable[..., Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return arguments as the annotations of a function's parameters have them, such as a tuple for a list.

    Args:
        function: The function, or the class that is called.
        values: Arguments by name; those without a parameter or an annotation stay as they are.
        where: What the arguments belong to; it begins the line of an error.

    Raises:
        UserError: One line that names the argument, the value and what is expected.

    Example:
        >>> def draw(count: int = 1): ...
        >>> arguments(draw, {"count": 3}, "data.options")
        {'count': 3}
        >>> arguments(draw, {"count": "few"}, "data.options")
        Traceback (most recent call last):
        limbeck.errors.UserError: data.options.count: got 'few', input should be a valid integer, ...
    """
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except NameError:  # An annotation that is imported for type checkers alone.
        return dict(values)
    named = {name: parameters[name].annotation for name in values if name in parameters}
    # By position, since a parameter may have the name of a method of pydantic's models.
    fields: dict[str, Any] = {
        f"value{place}": (annotation, Field(alias=name))
        for place, (name, annotation) in enumerate(named.items())
        if annotation is not inspect.Parameter.empty
    }
    model = create_model("Arguments", __base__=_Arguments, **fields)
    names = {field: str(info.alias) for field, info in model.model_fields.items()}
    checked = validated(model, {name: values[name] for name in names.values()}, where)
    return {**values, **{name: getattr(checked, field) for field, name in names.items()}}
