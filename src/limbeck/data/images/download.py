"""Getting the public data sets, through torchvision."""

from pathlib import Path
from typing import Any

from limbeck.errors import UserError, first_line

_CLASSES = {"fashion_mnist": "FashionMNIST", "mnist": "MNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}


def download(name: str, root: Path) -> None:
    """Download a data set below ``root``, where the readers find it.

    Args:
        name: ``"fashion_mnist"``, ``"mnist"``, ``"cifar10"`` or ``"cifar100"``.
        root: The folder.

    Raises:
        UserError: If it cannot be downloaded.

    Example:
        >>> download("tiny_imagenet", Path("data"))
        Traceback (most recent call last):
        limbeck.errors.UserError: data.download: tiny_imagenet cannot be downloaded from here; ...
    """
    import torchvision.datasets

    if name not in _CLASSES:
        hint = f"get it from its official page and unpack it in {root}"
        raise UserError(f"data.download: {name} cannot be downloaded from here; {hint}")
    data_set: Any = getattr(torchvision.datasets, _CLASSES[name])
    try:
        data_set(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"data.download: {name} could not be downloaded to {root}: {first_line(error)}") from error
