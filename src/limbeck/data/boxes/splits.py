"""A split of images with boxes, whose images may differ in size."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from limbeck.data.images.decode import decode
from limbeck.data.images.folder_files import SKIP_HINT
from limbeck.errors import UserError
from limbeck.files import content_digest, file_digest

Size = tuple[int, int]
"""Height and width in pixels."""
Target = dict[str, Tensor]
"""The ground truth of an image: ``boxes``, ``labels`` and perhaps ``crowd``, see :class:`BoxSet`."""


class ImageFile(NamedTuple):
    """An image that is decoded whenever it is needed.

    Attributes:
        path: The file.
        size: Height and width in pixels that it is resized to.

    Example:
        >>> ImageFile(Path("1.jpg"), (48, 64)).size
        (48, 64)
    """

    path: Path
    size: Size

    def read(self) -> Tensor:
        """Decode and resize it: uint8 (3, H, W).

        Raises:
            UserError: If it cannot be read.
        """
        try:
            image = decode(self.path, "rgb")
        except UserError as error:
            raise UserError(f"{error}; {SKIP_HINT}") from None
        if tuple(image.shape[1:]) == self.size:
            return image
        resized: Tensor = tvf.resize(image, list(self.size), antialias=True)
        return resized


@dataclass(frozen=True, eq=False)
class BoxSet:
    """A split of images with boxes, in memory or in files.

    Args:
        images: The images: uint8 (3, H, W), or files of them.
        targets: The ground truth of each image, as torchvision's detectors take it: ``boxes``, float32 (B, 4), the
            left, upper, right and lower edge in pixels, and ``labels``, int64 (B,), from 1, as 0 is the background;
            where the data has crowds also ``crowd``, bool (B,): regions of many objects, which are no examples of one.

    Raises:
        UserError: If a shape or a type is another.

    Example:
        >>> target = {"boxes": torch.tensor([[1.0, 1.0, 3.0, 2.0]]), "labels": torch.tensor([2])}
        >>> split = BoxSet([torch.zeros(3, 4, 6, dtype=torch.uint8)], [target])
        >>> len(split), split.shape, split.labels
        (1, (3, 4, 6), tensor([2]))
    """

    images: Sequence[Tensor | ImageFile]
    targets: Sequence[Target]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.targets):
            raise UserError(f"targets: got {len(self.targets)}, expected one for each of {len(self.images)} images")
        for number, image in enumerate(self.images):
            if isinstance(image, Tensor) and (image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3):
                got = f"{image.dtype} {tuple(image.shape)}"
                raise UserError(f"images: got {got} (sample {number}), expected torch.uint8 (3, H, W)")
        for number, target in enumerate(self.targets):
            _check(target, f"targets: sample {number}")
        self._check_entries()

    def _check_entries(self) -> None:
        # The entries of a batch are those of its first sample.
        first = set(self.targets[0]) if self.targets else set()
        for number, target in enumerate(self.targets):
            if different := sorted(first ^ set(target)):
                verb = "has" if different[0] in target else "lacks"
                raise UserError(
                    f"targets: sample {number}: {verb} {different[0]}, unlike sample 0, expected it in all or in none"
                )

    def __len__(self) -> int:
        return len(self.images)

    def image(self, number: int) -> Tensor:
        """Return the pixels of a sample, uint8 (3, H, W).

        Raises:
            UserError: If its file cannot be read.
        """
        image = self.images[number]
        return image if isinstance(image, Tensor) else image.read()

    def size(self, number: int) -> Size:
        """Return height and width of a sample in pixels."""
        image = self.images[number]
        return (image.shape[1], image.shape[2]) if isinstance(image, Tensor) else image.size

    @cached_property
    def labels(self) -> Tensor:
        """The most frequent class of each image, int64 (N,), for cuts of the same share of each; 0 without boxes."""
        counts = [target["labels"].bincount(minlength=1) for target in self.targets]
        return torch.tensor([int(count.argmax()) for count in counts], dtype=torch.int64)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Channels, and the largest height and width in pixels."""
        sizes = [self.size(number) for number in range(len(self))]
        return 3, max(height for height, _ in sizes), max(width for _, width in sizes)

    def select(self, indices: Tensor) -> Self:
        """Return the samples at ``indices`` (int64 (M,)), in that order."""
        numbers = indices.tolist()
        return type(self)([self.images[n] for n in numbers], [self.targets[n] for n in numbers])

    def fingerprint(self) -> str:
        """Return the SHA-256 of all boxes and pixels (of images in files: of the files), 64 hexadecimal digits.

        Raises:
            UserError: If a file cannot be read.
        """
        digests = [
            content_digest(repr((self.size(number), sorted(target))).encode(), *_values(target), _content(image))
            for number, (image, target) in enumerate(zip(self.images, self.targets, strict=True))
        ]
        return content_digest(b"BoxSet\n", "".join(digests).encode())


def _values(target: Target) -> list[Tensor]:
    return [target[name] for name in sorted(target)]


def _content(image: Tensor | ImageFile) -> bytes | Tensor:
    if isinstance(image, Tensor):
        return image
    try:
        return file_digest(image.path).encode()
    except OSError as error:
        raise UserError(f"data.root: cannot read {image.path}: {error.strerror}") from None


def _check(target: Target, where: str) -> None:
    count = len(target["labels"]) if isinstance(target.get("labels"), Tensor) else 0
    kinds = {"boxes": (torch.float32, (count, 4)), "labels": (torch.int64, (count,)), "crowd": (torch.bool, (count,))}
    for name, (dtype, shape) in kinds.items():
        value = target.get(name)
        if value is None and name == "crowd":
            continue
        if not isinstance(value, Tensor) or value.dtype != dtype or tuple(value.shape) != shape:
            got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else "none"
            raise UserError(f"{where}: got for {name} {got}, expected {dtype} {shape}")
    if count and int(target["labels"].min()) < 1:
        raise UserError(f"{where}: has the label {int(target['labels'].min())}, expected 1 to the number of classes")
