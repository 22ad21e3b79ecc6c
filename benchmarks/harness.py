"""What the benchmarks share: loops that take turns, networks, a filled logit cache, real images."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import limbeck
from limbeck.cache import CachedTeacher, CacheSpec, LogitStore, Replay, RowFormat, fill, wanted
from limbeck.data import Augment, ImageSet, Views
from limbeck.errors import UserError
from limbeck.methods import Method
from limbeck.teachers import LiveTeacher
from limbeck.training import (
    Engine,
    OptimizerSettings,
    ScheduleSettings,
    TrainingSettings,
    make_fabric,
    resolve_precision,
    uses_channels_last,
)
from rehearsal import rehearsing, replay_steps_eagerly

if rehearsing():
    replay_steps_eagerly()
Loop = Callable[[int], object]
Clock = Callable[[], float]
Device = Literal["auto", "cpu", "cuda"]
CROP_AND_FLIP = Augment(crop=4, flip=True)
Seconds = dict[str, list[float]]


def seconds_of(loop: Loop, epoch: int, clock: Clock = time.perf_counter) -> float:
    """Time one call, to the end of what it started on a GPU."""
    start = clock()
    loop(epoch)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def in_turns(loops: Mapping[str, Loop], rounds: int, clock: Clock = time.perf_counter) -> Seconds:
    """Time every loop once a round, after an epoch 0 that does not count; another one begins each round.

    So a machine whose speed drifts, or a cache that the one before left warm, treats all alike. On a machine that
    others use too, ``time.process_time`` leaves out the time in which they ran.
    """
    for loop in loops.values():
        loop(0)
    names, taken = list(loops), Seconds({name: [] for name in loops})
    for epoch in range(1, rounds + 1):
        shift = (epoch - 1) % len(names)
        for name in names[shift:] + names[:shift]:
            taken[name].append(seconds_of(loops[name], epoch, clock))
    return taken


def records(device: Device) -> bool:
    """Return whether a training's steps are recorded there: on a GPU, and on a CPU that stands for one."""
    return device == "cuda" or rehearsing()


def ratios(taken: Mapping[str, Sequence[float]], one: str, other: str) -> list[float]:
    """Divide one loop's seconds by another's, within each round."""
    return [a / b for a, b in zip(taken[one], taken[other], strict=True)]


def middle(values: Sequence[float], digits: int = 3) -> float:
    """Return the median, rounded."""
    return round(statistics.median(values), digits)


def with_spread(values: Sequence[float], sign: str = "") -> str:
    """Write the mean and, of more than one, the standard deviation; with ``sign="+"`` the sign of a gain too."""
    spread = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.2f}{spread}"


def span(values: Sequence[float], digits: int = 3) -> str:
    """Write the smallest and the largest."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def random_images(count: int, shape: tuple[int, int, int], classes: int) -> ImageSet:
    """Draw images and labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.randint(classes, (count,), generator=generator))


@dataclass(frozen=True, eq=False)
class Bench:
    """Images, and one way to compute on them."""

    split: ImageSet
    classes: int = 100
    batch_size: int = 64
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: Literal["auto"] | bool = "auto"
    device: Device = "cpu"
    cuda_graph: bool = False
    compile: bool = False
    augment: Augment = CROP_AND_FLIP
    mean: Sequence[float] = (0.5071, 0.4867, 0.4408)
    std: Sequence[float] = (0.2675, 0.2565, 0.2761)

    @cached_property
    def settings(self) -> TrainingSettings:
        """The training, at a rate that never moves."""
        return TrainingSettings(
            device=self.device,
            precision=self.precision,
            channels_last=self.channels_last,
            cuda_graph=self.cuda_graph,
            compile=self.compile,
            batch_size=self.batch_size,
            optimizer=OptimizerSettings(name="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4),
            schedule=ScheduleSettings(name="constant"),
        )

    @cached_property
    def fabric(self) -> Fabric:
        """Device and precision."""
        return make_fabric(self.settings)

    @property
    def is_channels_last(self) -> bool:
        """Whether images and networks are in that memory format."""
        return uses_channels_last(self.settings, self.fabric.device.type)

    def placed(self, network: nn.Module) -> nn.Module:
        """Put a network where the training runs, and in its memory format."""
        network.to(self.fabric.device)
        if self.is_channels_last:
            network.to(memory_format=torch.channels_last)
        return network

    @cached_property
    def views(self) -> Views:
        """The training's batches."""
        channels = self.split.shape[0]
        return Views(
            self.split,
            batch_size=self.batch_size,
            mean=self.mean[:channels],
            std=self.std[:channels],
            augment=self.augment,
            shuffle=True,
            device=self.fabric.device,
            channels_last=self.is_channels_last,
        )

    def loop(self, student: nn.Module, teacher: nn.Module | None, method: str | Method) -> Loop:
        """Return limbeck's own training loop over one epoch."""
        distiller = limbeck.Distiller(student, teacher, method=method, num_classes=self.classes)
        self.placed(distiller)
        engine = Engine(distiller, self.views, self.settings, fabric=self.fabric, splits={}, log=print)
        return lambda epoch: engine.train_epoch(epoch).means()

    @cached_property
    def precision_name(self) -> str:
        """The precision that is computed in."""
        return resolve_precision(self.precision, self.fabric.device.type)

    def store(self, folder: Path) -> LogitStore:
        """Open the cache of all views below a folder, which is to be one teacher's."""
        source = {"precision": self.precision_name, "channels_last": self.is_channels_last}
        spec = CacheSpec("views", len(self.split), RowFormat(self.classes), self.augment, source=source)
        return LogitStore.open(folder, spec)

    def fill(self, teacher: LiveTeacher, store: LogitStore, epochs: int) -> None:
        """Store the teacher's logits of the first epochs."""
        channels, layout = self.split.shape[0], self.is_channels_last
        statistics = self.mean[:channels], self.std[:channels]
        replay = Replay(self.split, store.spec, *statistics, device=self.fabric.device, channels_last=layout)
        slots = wanted(store.spec, [0], epochs)
        fill(store, teacher, replay, slots=slots, precision=self.fabric.autocast)

    def cached(self, teacher: nn.Module, folder: Path, epochs: int) -> CachedTeacher:
        """Return a teacher whose logits of the first epochs are all stored."""
        live = LiveTeacher(self.placed(teacher))
        self.fill(live, self.store(folder), epochs)
        return self.reading(live, folder)

    def reading(self, live: LiveTeacher, folder: Path) -> CachedTeacher:
        """Return a teacher that reads what is stored in a folder already."""
        return CachedTeacher(lambda: live, self.store(folder), precision=self.precision_name)


def network(name: str, *, classes: int = 100, channels: int = 3, width: float = 1.0) -> nn.Module:
    """Make a network with random weights, always the same."""
    torch.manual_seed(0)
    options: dict[str, Any] = {} if width == 1 else {"width": width}
    return limbeck.models.create(name, num_classes=classes, in_channels=channels, **options)


@torch.no_grad()
def settled(teacher: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """Give a network with random weights one batch's statistics, without which the logits of a deep one overflow."""
    norms = [module for module in teacher.modules() if isinstance(module, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None
    teacher.train()(torch.randn(64, *shape, generator=torch.Generator().manual_seed(0)))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    return teacher.eval().requires_grad_(False)


def cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared_data() -> Path | None:
    """Return the folder of real data that LIMBECK_SHARED names, if there is one."""
    folder = os.environ.get("LIMBECK_SHARED")
    return Path(folder) / "data" if folder and Path(folder, "data").is_dir() else None


@contextmanager
def cifar100_root(root: Path | None = None, *, keep: Path | None = None) -> Iterator[Path]:
    """Yield a folder that holds CIFAR-100: the one given, or one that it is unpacked to.

    Args:
        root: The folder, if there is one.
        keep: Where to unpack it for later calls too; None for a folder that goes when it is needed no more.

    Raises:
        UserError: If there is neither a folder nor LIMBECK_SHARED.
    """
    if root is not None or (keep is not None and (keep / "cifar-100-binary" / "test.bin").is_file()):
        yield root or keep or Path()
        return
    shared = shared_data()
    if shared is None:
        raise UserError("CIFAR-100: expected --root, its folder, or LIMBECK_SHARED, a folder with data/")
    with nullcontext(keep) if keep else tempfile.TemporaryDirectory(prefix="cifar100-") as folder:
        command = [sys.executable, str(shared / "unpack_cifar100.py"), str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        yield Path(folder)


def trimmed(root: Path, out: Path, *, train: int, test: int) -> Path:
    """Write the first images of CIFAR-100 in its binary layout, for a measurement that needs no more."""
    data = limbeck.data.load("cifar100", root=root)
    for name, split, count in (("train", data.train, train), ("test", data.test, test)):
        assert isinstance(split, ImageSet)
        labels = split.labels[:count, None].to(torch.uint8)
        records = torch.cat([torch.zeros_like(labels), labels, split.images[:count].flatten(1)], dim=1)
        (out / f"{name}.bin").write_bytes(records.numpy().tobytes())
    (out / "fine_label_names.txt").write_text("\n".join(data.classes) + "\n")
    return out
