"""Data sets by name: those of limbeck, of plug-ins, of a user's own Python code, and those registered."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from limbeck.data.data import Data
from limbeck.data.samples import Samples
from limbeck.data.split import hold_out, limit
from limbeck.errors import UserError, one_line, shortened, unknown_name
from limbeck.files import expanded
from limbeck.imports import PREFIX, folder_importable
from limbeck.registry import Registry
from limbeck.validation import arguments

Loader = Callable[..., Data]


def _built_in() -> Mapping[str, Loader]:
    from limbeck.data.boxes.loading import LOADERS as BOXES
    from limbeck.data.images.loading import LOADERS
    from limbeck.data.masks.loading import LOADERS as MASKS
    from limbeck.data.tables.loading import LOADERS as TABLES
    from limbeck.data.text.loading import LOADERS as TEXTS

    return {**LOADERS, **MASKS, **BOXES, **TABLES, **TEXTS}


def _adopted(name: str, loader: object) -> Loader:
    if inspect.isclass(loader) or not callable(loader):
        got = "a class" if inspect.isclass(loader) else f"a {type(loader).__name__}"
        raise UserError(f"data set {shortened(name)}: is {got}, expected a function that returns a limbeck.data.Data")
    return loader


REGISTRY: Registry[Loader] = Registry(
    "data set", "limbeck.data", _built_in, _adopted, forms=("python:MODULE:FUNCTION",)
)
"""The loaders by name: the built-in ones, those of plug-ins, and those that :func:`register` added in this process."""


def names() -> tuple[str, ...]:
    """Return the names that :func:`load` takes, beside ``python:MODULE:FUNCTION``.

    Example:
        >>> names()[:7]
        ('fashion_mnist_sample', 'fashion_mnist', 'mnist', 'cifar10', 'cifar100', 'tiny_imagenet', 'image_folder')
    """
    return REGISTRY.names()


def register(name: str, loader: Loader, *, replace: bool = False) -> None:
    """Add a data set under a name, for :func:`load` and recipes.

    An installed package adds one without this call, by an entry point of the group ``limbeck.data``.

    Args:
        name: The name.
        loader: Returns the whole :class:`limbeck.data.Data`; called with those of a recipe's settings ``root``,
            ``download``, ``size``, ``color``, ``test_share``, ``seed`` and ``skip_bad`` that its signature takes, and
            with those of ``options``, which it must take. ``validation`` and the limits are cut from what it returns.
        replace: Whether it may take the place of another loader.

    Raises:
        UserError: If the name is malformed or taken, or the loader is no function.

    Example:
        >>> import torch
        >>> from limbeck.data import ImageSet
        >>> def stripes(seed=0):
        ...     images = torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 4, 4)
        ...     split = ImageSet(images, torch.arange(2))
        ...     return Data("stripes", ("dark", "light"), split, None, split, mean=(0.5,), std=(0.5,))
        >>> register("stripes", stripes)
        >>> load("stripes").classes
        ('dark', 'light')
        >>> REGISTRY.unregister("stripes")
    """
    REGISTRY.register(name, _adopted(name, loader), replace=replace)


def load(
    name: str,
    *,
    root: str | Path | None = None,
    download: bool = False,
    validation: float = 0.0,
    train_limit: int | None = None,
    test_limit: int | None = None,
    seed: int = 0,
    size: int | None = None,
    color: Literal["auto", "rgb", "gray"] = "auto",
    test_share: float = 0.2,
    skip_bad: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Data:
    """Load a data set.

    Args:
        name: One of :func:`names`, or ``python:MODULE:FUNCTION``, which imports and runs that code.
        root: The folder of its files; the embedded ``fashion_mnist_sample`` needs none.
        download: Get missing files first (Fashion-MNIST, MNIST, CIFAR).
        validation: The share of the training samples to hold out for choices, in [0, 1), seeded and per class.
        train_limit: How many of the other training samples to keep, seeded and as evenly over the classes as possible.
        test_limit: How many of the test samples to keep, chosen likewise.
        seed: The seed of these cuts.
        size: Height and width in pixels of the student's inputs; for ``image_folder``, whose files decide it by
            default: the median of their shorter sides, at most 224.
        color: ``"rgb"``, ``"gray"`` or ``"auto"`` (as the images are); for ``image_folder``.
        test_share: The share of files without a test split of their own to cut off as that, in (0, 1).
        skip_bad: Whether samples whose files cannot be read are left out, instead of being an error; for images,
            masks and boxes in files.
        options: Further arguments of the data set's own loader.

    Returns:
        The data set.

    Raises:
        UserError: If a name or a setting is out of range, or a file is missing or damaged.

    Example:
        >>> data = load("fashion_mnist_sample", validation=0.1, train_limit=2000, seed=3)
        >>> len(data.train), len(data.validation), len(data.test)
        (2000, 1000, 5000)
    """
    loader = REGISTRY.get(name)
    _check_cuts(validation, train_limit=train_limit, test_limit=test_limit)
    settings = {"root": None if root is None else expanded(root), "download": download, "size": size}
    common = {**settings, "color": color, "test_share": test_share, "seed": seed, "skip_bad": skip_bad}
    whole = _loaded(name, loader, common, options)
    train, held_out = _held_out(whole, validation, seed)
    named = "the samples" if held_out is None else "the samples beside the validation split"
    train = _limited(train, "train_limit", train_limit, seed, named)
    test = _limited(whole.test, "test_limit", test_limit, seed)
    return replace(whole, name=name, train=train, validation=held_out, test=test)


def _check_cuts(validation: float, **counts: int | None) -> None:
    if not 0 <= validation < 1:
        raise UserError(f"data.validation: got {validation}, expected a share of at least 0 and below 1")
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"data.{name}: got {count}, expected a whole number of at least 1")


def _loaded(name: str, loader: Loader, settings: Mapping[str, Any], options: Mapping[str, Any]) -> Data:
    label = f"data set {shortened(name)}"
    try:
        with folder_importable():
            data = loader(**_taken(label, loader, settings), **_options(label, loader, settings, options))
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        # What a recipe names fails in one line; a loader registered by a program fails with its traceback.
        if not name.startswith(PREFIX):
            raise
        raise UserError(f"{label} could not be loaded: {one_line(error)}") from error
    if not isinstance(data, Data):
        raise UserError(f"{label}: returned a {type(data).__name__}, expected a limbeck.data.Data")
    return data


def _taken(label: str, loader: Loader, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings that a loader takes; one that was set on purpose must be among them."""
    parameters = inspect.signature(loader).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return settings
    for key, value in settings.items():
        if key not in parameters and key != "seed" and value != inspect.signature(load).parameters[key].default:
            takes = ", ".join(taken for taken in settings if taken in parameters) or "none"
            raise UserError(f"data.{key}: got {shortened(value)}, but {label} takes of such settings {takes}")
    return {key: value for key, value in settings.items() if key in parameters}


def _options(label: str, loader: Loader, settings: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a loader's own options, all of which its signature must name, as its annotations have them."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = [p.name for p in inspect.signature(loader).parameters.values() if p.kind in kinds]
    for option in options:
        if option in settings or option not in known:
            raise UserError(f"data.options: {unknown_name('option', option, set(known) - set(settings))} ({label})")
    return arguments(loader, options, "data.options")


def _held_out(whole: Data, share: float, seed: int) -> tuple[Samples, Samples | None]:
    if not share:
        return whole.train, whole.validation
    if whole.validation is not None:
        expected = "but the data has a validation split of its own; expected 0"
        raise UserError(f"data.validation: got {share}, {expected}")
    try:
        stay, cut = hold_out(whole.train.labels, share, seed=seed)
    except UserError as error:
        raise UserError(f"data.validation: {error}") from None
    return whole.train.select(stay), whole.train.select(cut)


def _limited(split: Samples, name: str, count: int | None, seed: int, named: str = "the samples") -> Samples:
    if count is None:
        return split
    return split.select(limit(split.labels, count, seed=seed, key=f"data.{name}", named=named))
