"""The images that belong to the slots of a cache, made again from the data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.cache.inputs import Replayed
from limbeck.cache.spec import CacheSpec
from limbeck.data import Augment, Batch, FolderSet, ImageSet, Split
from limbeck.data.images.file_view import view_of_file
from limbeck.data.images.memory import ResidentImages, resident
from limbeck.data.images.normalize import Normalizer, normalizer
from limbeck.data.images.stored import StoredSet
from limbeck.data.images.views import image_source
from limbeck.data.schedule import EpochPlan
from limbeck.data.source import Source
from limbeck.errors import UserError

# How many images of a folder are decoded at a time, to make all their views.
_DECODED = 256


@dataclass(frozen=True, eq=False)
class Replay:
    """Makes the images of any slots of a cache, bit for bit those of :class:`limbeck.data.Views`.

    Args:
        split: The training set.
        spec: What the cache holds.
        mean: The mean of each channel, of pixels in [0, 1].
        std: The standard deviation of each channel.
        device: Where the batches are.
        channels_last: Whether the inputs are in that memory format.
        workers: How many processes decode the images of a folder for ``"epochs"``.

    Raises:
        UserError: If what the cache holds is varied otherwise than images are.

    Example:
        >>> from limbeck.cache import RowFormat
        >>> split = ImageSet(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))
        >>> replay = Replay(split, CacheSpec("views", 2, RowFormat(3), Augment(flip=True)), [0], [1])
        >>> batch, epoch, slots = next(replay.batches(torch.tensor([1, 2]), batch_size=10))
        >>> batch.inputs.shape, batch.indices, slots
        (torch.Size([2, 1, 4, 4]), tensor([0, 1]), tensor([1, 2]))
    """

    split: Split
    spec: CacheSpec
    mean: Sequence[float]
    std: Sequence[float]
    device: torch.device | str = "cpu"
    channels_last: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.spec.augment, Augment):
            kind = type(self.spec.augment).__name__
            raise UserError(f"replay of images: got views of {kind}, expected those of limbeck.data.Augment")

    @property
    def _augment(self) -> Augment:
        assert isinstance(self.spec.augment, Augment)
        return self.spec.augment

    def batches(self, slots: Tensor, *, batch_size: int) -> Iterator[Replayed]:
        """Yield the views of ``slots``, int64 (N,) on the CPU, in ascending order.

        Raises:
            UserError: If an image of a folder cannot be read.
        """
        slots = slots.sort().values
        return (self._views if self.spec.mode == "views" else self._epochs)(slots, batch_size)

    def _normalizer(self) -> Normalizer:
        return normalizer(self.split.shape, self.mean, self.std, device=self.device, channels_last=self.channels_last)

    def _resident(self, split: ImageSet) -> ResidentImages:
        return resident(split, self._normalizer(), self._augment, channels_last=self.channels_last)

    def _views(self, slots: Tensor, batch_size: int) -> Iterator[Replayed]:
        if isinstance(self.split, ImageSet):
            yield from self._cut(self._resident(self.split), 0, slots, batch_size)
            return
        for start in range(0, len(self.split), _DECODED):
            end = min(start + _DECODED, len(self.split))
            low, high = start * self.spec.per_sample, end * self.spec.per_sample
            part = slots[(slots >= low) & (slots < high)]
            if len(part):
                yield from self._cut(self._resident(_decoded(self.split, start, end)), start, part, batch_size)

    def _cut(self, images: ResidentImages, first: int, slots: Tensor, batch_size: int) -> Iterator[Replayed]:
        for part in torch.split(slots, batch_size):
            indices, views = (values.to(images.order_device) for values in self.spec.split(part))
            rows = indices - first
            inputs = images.normalize(images.cut(rows, self._augment.place(views)))
            yield Replayed(Batch(inputs, images.labels[rows], indices), 0, part)

    def _epochs(self, slots: Tensor, batch_size: int) -> Iterator[Replayed]:
        source: Source
        if isinstance(self.split, ImageSet):
            source = self._resident(self.split)
        else:
            source = image_source(
                self.split,
                mean=self.mean,
                std=self.std,
                augment=self._augment,
                device=self.device,
                workers=self.workers,
                channels_last=self.channels_last,
            )
        indices, epochs = self.spec.split(slots)
        for epoch in torch.unique(epochs).tolist():
            order = indices[epochs == epoch].to(source.order_device)
            bounds = (*range(0, len(order), batch_size), len(order))
            plan = EpochPlan(order, bounds, self.spec.seed, epoch)
            for batch in source.batches(plan):
                assert batch.indices is not None
                yield Replayed(batch, epoch, batch.indices.cpu() + epoch * self.spec.samples)


def _decoded(split: FolderSet, start: int, end: int) -> ImageSet:
    if isinstance(split, StoredSet):
        images = [split.image(index) for index in range(start, end)]
    else:
        images = [view_of_file(split, index, Augment(), seed=0, epoch=0) for index in range(start, end)]
    return ImageSet(torch.stack(images), split.labels[start:end])
