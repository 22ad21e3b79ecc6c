"""A tiny data set, teacher and cache that the tests of the caches share."""

import torch
from torch import nn

from limbeck.cache import CacheSpec, LogitStore, Replay, RowFormat
from limbeck.data import Augment, ImageSet, Views
from limbeck.teachers import LiveTeacher

CLASSES, SAMPLES = 7, 50
SOME = Augment(crop=1, flip=True)
MEAN, STD = (0.4,), (0.3,)


def split_of(samples=SAMPLES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (samples, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.randint(CLASSES, (samples,), generator=generator))


def network_of(seed=0, scale=1.0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, CLASSES))
    with torch.no_grad():
        net[-1].weight.mul_(scale)
    return net.eval()


def spec_of(mode="views", dtype="float32", augment=SOME, **more):
    epochs = more.pop("epochs", 3) if mode == "epochs" else 0
    return CacheSpec(mode, SAMPLES, RowFormat(CLASSES, dtype, more.pop("top_k", None)), augment, epochs=epochs, **more)


def store_of(tmp_path, spec=None, **more):
    return LogitStore.open(tmp_path / "logits", spec or spec_of(), **more)


def views_of(spec, seed=0, batch_size=16, **more):
    return Views(
        split_of(), batch_size=batch_size, mean=MEAN, std=STD, augment=spec.augment, shuffle=True, seed=seed, **more
    )


def replay_of(spec):
    return Replay(split_of(), spec, MEAN, STD)


class Counting(LiveTeacher):
    """A live teacher that counts the rows that it was run on."""

    def __init__(self, network):
        super().__init__(network)
        self.rows = 0

    def logits(self, inputs, labels, indices=None, epoch=0):
        self.rows += len(inputs)
        return super().logits(inputs, labels, indices, epoch)
