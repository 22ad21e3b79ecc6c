"""Samples of the test split as a page can show them: small images, texts, rows."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from limbeck.build.data import load_data
from limbeck.data import Data, FolderSet, ImageSet
from limbeck.data.images.decode import decode
from limbeck.data.tables.data import TableData, TableSet
from limbeck.data.text.data import TextData
from limbeck.data.text.token_set import TextSet
from limbeck.errors import UserError, shortened
from limbeck.imports import PREFIX, optional_package
from limbeck.recipes.data_settings import DataSettings
from limbeck.recipes.parsing import leaves
from limbeck.training.settings import named
from limbeck.validation import validated

_SIDE, _SMALL = 112, 64
_CHARACTERS, _CELLS = 280, 8


@dataclass(frozen=True)
class Shown:
    """A sample.

    Attributes:
        uri: A small image as a ``data:`` address; empty for other samples.
        text: A text; empty for other samples.
        cells: Names and values of a row; empty for other samples.
        name: Its file, where it has one.

    Example:
        >>> Shown(text="wake me at seven").uri
        ''
    """

    uri: str = ""
    text: str = ""
    cells: tuple[tuple[str, str], ...] = ()
    name: str = ""


def loaded(recipe: Mapping[str, Any], *, trust: bool = False) -> Data:
    """Load the data that a stored recipe names, without downloading any.

    Args:
        recipe: The recipe.
        trust: Whether ``python:`` names are imported.

    Raises:
        UserError: If they are not there any more, or are of the user's own code and ``trust`` is not set.

    Example:
        >>> len(loaded({"data": {"name": "fashion_mnist_sample", "test_limit": 50}}).test)
        50
        >>> loaded({"data": {"name": "python:mine:load"}})
        Traceback (most recent call last):
        limbeck.errors.UserError: the data are loaded by 'python:mine:load', which is imported with --trust alone
    """
    values = named(recipe.get("data"))
    if not isinstance(values, Mapping):
        raise UserError(f"the recipe names no data, got {shortened(values)}")
    for _, name in leaves(values):
        if isinstance(name, str) and name.startswith(PREFIX) and not trust:
            raise UserError(f"the data are loaded by {shortened(name)}, which is imported with --trust alone")
    settings = validated(DataSettings, {**values, "download": False})
    return load_data(settings)


def shown(data: Data, positions: Sequence[int]) -> dict[int, Shown]:
    """Return samples of the test split by their positions; empty for data that cannot be shown one by one.

    Raises:
        UserError: If a file cannot be read.

    Example:
        >>> from limbeck.data import load
        >>> shown(load("fashion_mnist_sample", test_limit=50), [3])[3].uri[:22]
        'data:image/png;base64,'
    """
    split = data.test
    if isinstance(split, ImageSet | FolderSet):
        return {place: _image(split, place) for place in positions}
    if isinstance(data, TextData) and isinstance(split, TextSet):
        return _texts(data, split, positions)
    if isinstance(data, TableData) and isinstance(split, TableSet):
        return {place: Shown(cells=_cells(data, split.inputs[place])) for place in positions}
    return {}


def _image(split: ImageSet | FolderSet, place: int) -> Shown:
    if isinstance(split, ImageSet):
        return Shown(uri=image_uri(split.images[place]))
    return Shown(uri=image_uri(decode(split.paths[place], split.color)), name=split.paths[place].name)


def image_uri(pixels: Tensor) -> str:
    """Return an image of at most 112 pixels a side as a ``data:`` address.

    Args:
        pixels: uint8 (C, H, W) with one or three channels; of others the first is taken.

    Example:
        >>> import torch
        >>> image_uri(torch.zeros(1, 2, 2, dtype=torch.uint8))[:14]
        'data:image/png'
    """
    array = pixels.permute(1, 2, 0).numpy()
    image = Image.fromarray(np.ascontiguousarray(array if array.shape[2] == 3 else array[:, :, 0]))
    image.thumbnail((_SIDE, _SIDE))
    form = "png" if max(image.size) <= _SMALL else "jpeg"
    file = io.BytesIO()
    image.save(file, form, **({"optimize": True} if form == "png" else {"quality": 82}))
    return f"data:image/{form};base64,{base64.b64encode(file.getvalue()).decode()}"


def _texts(data: TextData, split: TextSet, positions: Sequence[int]) -> dict[int, Shown]:
    import json

    tokenizers = optional_package("tokenizers", "text", "the texts of a page")
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(data.tokenization["tokenizer"]))
    found = {}
    for place in positions:
        start, end = int(split.offsets[place]), int(split.offsets[place + 1])
        text = tokenizer.decode(split.tokens[start:end].tolist(), skip_special_tokens=True)
        found[place] = Shown(text=shortened(text, _CHARACTERS, quoted=False))
    return found


def _cells(data: TableData, inputs: Tensor) -> tuple[tuple[str, str], ...]:
    """Return the values of a row that are furthest from the mean, in the order of the columns."""
    values, prepared = inputs.flatten().tolist(), data.prepared
    names = [str(name) for name in prepared.get("numeric", ())]
    if not names or len(inputs.shape) > 1:
        return tuple((f"[{place}]", f"{value:.4g}") for place, value in enumerate(values[:_CELLS]))
    means, scales = prepared["mean"], prepared["scale"]
    furthest = sorted(sorted(range(len(names)), key=lambda place: -abs(values[place]))[:_CELLS])
    numbers = [(names[p], f"{_raw(values[p], means[p], scales[p]):.4g}") for p in furthest]
    return (*numbers, *_categories(prepared.get("categories", {}), values[len(names) :]))


def _raw(value: float, mean: float, scale: float) -> float:
    raw = value * scale + mean
    return 0.0 if math.isclose(raw, 0.0, abs_tol=1e-6 * max(abs(mean), abs(scale))) else raw


def _categories(categories: Mapping[str, Sequence[str]], values: Sequence[float]) -> list[tuple[str, str]]:
    found, start = [], 0
    for name, entries in categories.items():
        hot = values[start : start + len(entries)]
        found.append((str(name), str(entries[max(range(len(hot)), key=hot.__getitem__)])))
        start += len(entries)
    return found[:_CELLS]
