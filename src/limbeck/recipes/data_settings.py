"""The group ``data`` of a recipe: a data set, what is cut from it, and how it is varied and normalized."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from limbeck.data import Augment
from limbeck.recipes.augmentation import AnyAugment
from limbeck.recipes.fields import Seed, Share, Side, UserPath, off_for_false
from limbeck.training.settings import Count, Positive
from limbeck.validation import Settings


class Normalize(Settings):
    """Mean and standard deviation of each channel, of pixels in [0, 1].

    Example:
        >>> Normalize(mean=(0.5,), std=(0.25,)).std
        (0.25,)
    """

    mean: tuple[float, ...]
    std: tuple[Positive, ...]


class DataSettings(Settings):
    """A data set by name, what is cut from it, and how it is fed.

    ``options`` are further arguments of the data set's own loader. ``view_seed`` is the seed of the students' views
    for all seeds of a comparison alike, so that a teacher's logits of them are computed once; by default the run's.
    ``store`` keeps the decoded, resized pixels of an image folder, in memory for the run or on the disk for all runs;
    ``auto`` is on the disk for image folders, and nothing for data that are in memory anyway. ``skip_bad`` leaves out
    samples whose files cannot be read, which are an error otherwise.

    Example:
        >>> DataSettings(name="cifar100", root="data").validation
        0.0
    """

    former_values = {"color": {"grey": "gray"}}  # noqa: RUF012 - a constant

    name: str
    root: UserPath | None = None
    download: bool = False
    validation: Share = 0.0
    train_limit: Count | None = None
    test_limit: Count | None = None
    size: Side | None = None
    color: Literal["auto", "rgb", "gray"] = "auto"
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    split_seed: Seed = 0
    view_seed: Seed | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    augment: AnyAugment = Augment()
    unlabeled: UserPath | None = None
    unlabeled_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    store: Literal["off", "memory", "disk", "auto"] = "off"
    store_limit_gb: Positive = 20.0
    normalize: Normalize | None = None
    workers: Annotated[int, Field(ge=0)] = 0
    skip_bad: bool = False

    _yaml_off = field_validator("store", mode="before")(off_for_false)
