"""The key ``data.augment`` of a recipe: settings of the kind that its keys belong to."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from limbeck.data import Augment
from limbeck.data.boxes.augment import BoxAugment
from limbeck.data.masks.augment import MaskAugment
from limbeck.data.tables.augment import TableAugment
from limbeck.data.text.augment import TokenAugment

_KINDS = (Augment, MaskAugment, BoxAugment, TableAugment, TokenAugment)


def _kind(value: Any) -> str:
    """Return the type of which all keys are settings; that of images for others, whose errors name the keys."""
    if is_dataclass(value):
        return type(value).__name__
    keys = set(value) if isinstance(value, Mapping) else set()
    known = (kind.__name__ for kind in _KINDS if keys <= {field.name for field in fields(kind)})
    return next(known, Augment.__name__)


AnyAugment = Annotated[
    Annotated[Augment, Tag("Augment")]
    | Annotated[MaskAugment, Tag("MaskAugment")]
    | Annotated[BoxAugment, Tag("BoxAugment")]
    | Annotated[TableAugment, Tag("TableAugment")]
    | Annotated[TokenAugment, Tag("TokenAugment")],
    Discriminator(_kind),
]
"""Settings of any kind of data; whether they are of the kind of a recipe's data shows once that is loaded."""
