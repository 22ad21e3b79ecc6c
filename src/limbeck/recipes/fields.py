"""Kinds of values that several groups of a recipe's settings have."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from limbeck.errors import UserError, shortened
from limbeck.files import expanded

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, lt=1)]
# Of one pixel alone no crop, scale or spread can be taken.
Side = Annotated[int, Field(ge=2, le=4096)]
LayerNames = Annotated[tuple[str, ...], Field(min_length=1)]


def off_for_false(value: Any) -> Any:
    """Return ``"off"`` for False, as which YAML reads a plain ``off``.

    Example:
        >>> off_for_false(False), off_for_false("disk")
        ('off', 'disk')
    """
    return "off" if value is False else value


def _in_a_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _known_device(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"cpu|mps|cuda(:\d{1,2})?", value):
        raise UserError(f"got {shortened(value)}, expected cpu, mps, cuda or one such as cuda:1")
    return value


DeviceName = Annotated[str | None, AfterValidator(_known_device)]
LayersByName = Annotated[tuple[str, ...], BeforeValidator(_in_a_tuple)]
UserPath = Annotated[Path, AfterValidator(expanded)]
