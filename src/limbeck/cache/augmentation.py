"""How samples are varied, as far as it decides the layout of a cache."""

from dataclasses import Field, asdict, fields
from typing import Any, ClassVar, Protocol

from torch import Tensor


class Augmentation(Protocol):
    """How the samples of a training set are varied: a dataclass, whose fields are part of a cache's key.

    :class:`limbeck.data.Augment` is that of images. As it is made by default it stands for data of any kind without
    augmentation: one view a sample.

    Example:
        >>> from limbeck.data import Augment
        >>> augment: Augmentation = Augment(crop=1, flip=True)
        >>> augment.views, augment.unaugmented, augment.countless
        (18, 8, None)
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def views(self) -> int | None:
        """The number of distinct views of a sample; None where they are countless."""

    @property
    def unaugmented(self) -> int | None:
        """The number of the view that is the sample as it is; None where views have no numbers."""

    @property
    def countless(self) -> str | None:
        """The name of the setting that makes views countless; None where they are not."""

    def draw(self, indices: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Return the number of each sample's view at an epoch, int64 (N,) in [0, views)."""


def settings_of(augment: Augmentation) -> dict[str, Any]:
    """Return the settings of an augmentation, as keys of what was made with it have them.

    Those in its ``later``, which earlier versions did not have, are left out where they are at their defaults.

    Example:
        >>> from limbeck.data import Augment
        >>> settings_of(Augment(crop=2)), settings_of(Augment(random_erasing=0.25))["random_erasing"]
        ({'crop': 2, 'flip': False, 'scale': None, 'rotation': 0.0}, 0.25)
    """
    later: Any = getattr(augment, "later", ())
    absent = {field.name for field in fields(augment) if field.name in later}
    absent = {name for name in absent if getattr(augment, name) == getattr(type(augment), name)}
    return {name: value for name, value in asdict(augment).items() if name not in absent}
