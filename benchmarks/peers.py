"""The same distillation by limbeck, by torchdistill as its users run it, and by a plain PyTorch loop.

    OMP_NUM_THREADS=1 python benchmarks/peers.py                 # needs LIMBECK_SHARED, or --root FOLDER with CIFAR-100
    python benchmarks/peers.py --device cuda --workers 8 --random

CIFAR-100 (--random: pixels at random) with crop and flip, batches of 64, SGD with momentum. All start from the same
networks, take the same number of steps, and take turns, so that a machine whose speed drifts treats all alike; ratios
are within a round. The teachers' weights are random: that decides what is learnt, not how long it takes.
"""

import argparse
import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

import limbeck
from harness import (
    Bench,
    Loop,
    Seconds,
    cifar100_root,
    in_turns,
    middle,
    network,
    random_images,
    ratios,
    records,
    settled,
    span,
)
from limbeck.data import Data, ImageSet
from record import record

PAIRS = (("resnet56", "resnet20"), ("resnet32x4", "resnet8x4"))
METHODS: dict[str, dict[str, float]] = {"kd": {}, "dist": {"beta": 2, "gamma": 2, "temperature": 4}}
OPTIMIZER: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
PEER, FROZEN, PLAIN = "torchdistill", "torchdistill, teacher set to eval mode", "plain PyTorch loop"
OURS: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32", "channels_last": False},
    "bf16, channels_last": {"precision": "bf16", "channels_last": True},
}
COMPILED = {"bf16, channels_last, compiled": {"precision": "bf16", "channels_last": True, "compile": True}}
GRAPH = {"bf16, channels_last, CUDA graph": {"precision": "bf16", "channels_last": True, "cuda_graph": True}}
NOTES = (
    "Random weights for all networks; the same ones, of limbeck's zoo, for everybody.",
    "torchdistill and the plain loop: fp32, images one by one through PIL and torchvision's transforms, a DataLoader.",
    "torchdistill's box leaves the teacher's batch norm in train mode unless its user turns it off, which costs time.",
    "cached: every row that is read was stored before the clock started, which compare.py counts.",
    "compiled: the student by torch.compile, which takes half a minute before the clock starts.",
)


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's CIFAR100 gives them: one by one, through PIL."""

    def __init__(self, data: Data) -> None:
        assert isinstance(data.train, ImageSet)
        self.pixels = data.train.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets = data.train.labels.tolist()
        steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        self.transform = transforms.Compose([*steps, transforms.Normalize(data.mean, data.std)])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.targets[index]


def box_settings(method: str, batch_size: int, workers: int) -> dict[str, Any]:
    """Configure torchdistill as its sample configurations do."""
    whole = {"path": ".", "io": "output"}
    logits = {f"{role}_module_{key}": value for role in ("student", "teacher") for key, value in whole.items()}
    kd = {"key": "KDLoss", "kwargs": {**logits, "temperature": 4.0, "alpha": 0.1}}
    dist = {"key": "DISTLoss", "kwargs": {**logits, "beta": 2.0, "gamma": 2.0, "tau": 4.0}}
    wrapper = {"input": {"is_from_teacher": False, "module_path": ".", "io": "output"}, "target": {"uses_label": True}}
    labels = {"key": "CrossEntropyLoss", "kwargs": {}}
    plain = {"criterion": labels, "criterion_wrapper": {"key": "SimpleLossWrapper", "kwargs": wrapper}, "weight": 1.0}
    terms: dict[str, Any] = {
        "kd": {"kd": {"criterion": kd, "weight": 1.0}},
        "dist": {"ce": plain, "dist": {"criterion": dist, "weight": 1.0}},
    }
    loader = {"batch_size": batch_size, "num_workers": workers, "persistent_workers": workers > 0}
    return {
        "num_epochs": 1,
        "train_data_loader": {"dataset_id": "train", "sampler": {"class_or_func": RandomSampler}, "kwargs": loader},
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": dict(OPTIMIZER)},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms[method]}},
    }


def torchdistill_loop(
    images: PilImages, pair: "Pair", method: str, args: argparse.Namespace, *, frozen: bool = False
) -> Loop:
    """Return torchdistill's distillation box in the training loop of its examples, with its teacher as it comes."""
    make = import_module("torchdistill.core.distillation").get_distillation_box
    log = import_module("torchdistill.misc.log")
    student, teacher = pair.fresh()
    device, settings = torch.device(args.device), box_settings(method, args.batch_size, args.workers)
    box: Any = make(teacher.train(not frozen), student, {"train": images}, settings, device, None, False, 1)

    def epoch(number: int) -> None:
        box.pre_epoch_process(epoch=number)
        meters = log.MetricLogger(delimiter="  ")
        meters.add_meter("lr", log.SmoothedValue(window_size=1, fmt="{value}"))
        for inputs, labels, supplement in meters.log_every(box.train_data_loader, 100, f"epoch {number}"):
            loss = box.forward_process(inputs.to(device), labels.to(device), supplement)
            box.post_forward_process(loss=loss)
            meters.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
        box.post_epoch_process()

    return epoch


def plain_loss(method: str, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Compute KD or DIST in the fewest operations of PyTorch."""
    loss, soft, target = F.cross_entropy(student, labels), (student / 4).softmax(1), (teacher / 4).softmax(1)
    if method == "kd":
        return 0.1 * loss + 0.9 * 16 * F.kl_div((student / 4).log_softmax(1), target, reduction="batchmean")
    for dim in (1, 0):
        centered = soft - soft.mean(dim, keepdim=True), target - target.mean(dim, keepdim=True)
        loss = loss + 2 * 16 * (1 - F.cosine_similarity(*centered, dim=dim).mean())
    return loss


def plain_loop(images: PilImages, pair: "Pair", method: str, args: argparse.Namespace) -> Loop:
    """Return a loop as the repositories of papers have it, which reads loss and accuracy at every step."""
    student, teacher = (net.to(args.device) for net in pair.fresh())
    loader = DataLoader(
        images, args.batch_size, shuffle=True, num_workers=args.workers, persistent_workers=args.workers > 0
    )
    optimizer = torch.optim.SGD(student.parameters(), **OPTIMIZER)

    def epoch(_: int) -> None:
        loss_sum, right_sum, among_five = 0.0, 0, 0
        student.train()
        for inputs, labels in ((a.to(args.device), b.to(args.device)) for a, b in loader):
            with torch.no_grad():
                target = teacher(inputs)
            logits = student(inputs)
            loss = plain_loss(method, logits, target, labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            right = logits.topk(5, dim=1).indices == labels[:, None]
            loss_sum, right_sum = loss_sum + loss.item(), right_sum + int(right[:, 0].sum())
            among_five += int(right.sum())

    return epoch


class Pair:
    """A teacher and a student, which every loop gets a copy of."""

    def __init__(self, teacher: str, student: str) -> None:
        self.teacher, self.student = settled(network(teacher), (3, 32, 32)), network(student)

    def fresh(self) -> tuple[nn.Module, nn.Module]:
        """Return copies of student and teacher."""
        return copy.deepcopy(self.student), copy.deepcopy(self.teacher)


def limbeck_loops(benches: Mapping[str, Bench], pair: Pair, method: str, cached: Mapping[str, Any]) -> dict[str, Loop]:
    """Return limbeck's loop with a live teacher and with a filled cache, in each precision."""
    made = limbeck.methods.create(method, **METHODS[method])
    loops = {}
    for source in ("live", "cached"):
        for way, bench in benches.items():
            # Nothing is compiled but the student, whose share of a live step is the smaller one.
            if source == "live" and way in COMPILED:
                continue
            student, live = pair.fresh()
            loops[f"limbeck {source}, {way}"] = bench.loop(student, live if source == "live" else cached[way], made)
    return loops


def loops_of(
    images: PilImages, benches: Mapping[str, Bench], pair: Pair, method: str, cached: Mapping[str, Any], args: Any
) -> dict[str, Loop]:
    """Return every loop over one epoch."""
    loops = {PLAIN: plain_loop(images, pair, method, args), **limbeck_loops(benches, pair, method, cached)}
    if not find_spec("torchdistill"):
        return loops
    boxes = {PEER: False, FROZEN: True}
    theirs = {name: torchdistill_loop(images, pair, method, args, frozen=frozen) for name, frozen in boxes.items()}
    return {**theirs, **loops}


def rows_of(what: str, taken: Seconds, steps: int, images: int) -> list[dict[str, Any]]:
    """Turn seconds to rows; speeds are relative to the first, which is torchdistill where that is installed."""
    first, rows = next(iter(taken)), []
    for name, values in taken.items():
        faster = ratios(taken, first, name)
        rows.append(
            {
                "what": what,
                "by": name,
                "seconds a step": middle([value / steps for value in values], 5),
                "times the first one's speed": middle(faster, 2),
                "range": span(faster, 2),
                "images/s": round(images / middle(values, 6)),
            }
        )
    return rows


def sampling_rows(images: PilImages, bench: Bench, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the batches alone: a DataLoader of single images against views cut a batch at a time."""
    loader = DataLoader(images, args.batch_size, shuffle=True, num_workers=args.workers)

    def drain(batches: Any) -> None:
        for batch in batches:
            batch[0].to(bench.fabric.device)

    loops: dict[str, Loop] = {PLAIN: lambda _: drain(loader), "limbeck": lambda epoch: drain(bench.views.epoch(epoch))}
    taken = in_turns(loops, max(args.rounds, 5))
    return rows_of("sampling alone", taken, args.steps, len(images))


def measured(data: Data, args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure every pair and method."""
    assert isinstance(data.train, ImageSet)
    ways = {**OURS, **(COMPILED if args.compiled else {}), **(GRAPH if records(args.device) else {})}
    benches = {way: Bench(data.train, batch_size=args.batch_size, device=args.device, **s) for way, s in ways.items()}
    images, rows = PilImages(data), list[dict[str, Any]]()
    for names in args.pairs:
        pair = Pair(*names)
        cached = {
            way: bench.cached(pair.fresh()[1], folder / f"{names[0]}-{number}", args.rounds + 1)
            for number, (way, bench) in enumerate(benches.items())
        }
        for method in args.methods:
            what = f"{method}, {' -> '.join(names)}"
            taken = in_turns(loops_of(images, benches, pair, method, cached, args), args.rounds)
            rows += [] if PEER in taken else [{"what": what, "by": PEER, "seconds a step": "not installed"}]
            rows += rows_of(what, taken, args.steps, len(images))
    return rows + sampling_rows(images, benches["fp32"], args)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=12, help="steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0, help="processes of the DataLoaders; limbeck needs none")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compiled", action="store_true", help="our cached step with a compiled student too")
    parser.add_argument("--pairs", type=lambda word: [PAIRS[int(n)] for n in word.split(",")], default=PAIRS)
    parser.add_argument("--methods", type=lambda word: word.split(","), default=list(METHODS))
    parser.add_argument("--random", action="store_true", help="random pixels, which need no data")
    parser.add_argument("--root", type=Path, help="the folder of CIFAR-100")
    parser.add_argument("--name", help="of the result, by default peers-DEVICE")
    return parser.parse_args(words)


def images_of(args: argparse.Namespace) -> Data:
    """Return as many images as a round takes, and their normalization."""
    count = args.steps * args.batch_size
    if args.random:
        split = random_images(count, (3, 32, 32), 100)
        names = tuple(str(label) for label in range(100))
        return Data("random", names, split, None, split, (0.5,) * 3, (0.25,) * 3)
    with cifar100_root(args.root) as root:
        data = limbeck.data.load("cifar100", root=root)
        return replace(data, train=data.train.select(torch.arange(count)))


def main() -> None:
    """Measure and keep the result."""
    args = arguments()
    data = images_of(args)
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(data, args, Path(folder))
    title = f"The same distillation, {args.steps} steps a round, {args.rounds} rounds, batches of {args.batch_size}"
    peer = f"torchdistill {version('torchdistill')}." if find_spec("torchdistill") else "torchdistill is not installed."
    pixels = ["Random pixels, which cost what real ones do."] if args.random else []
    record(args.name or f"peers-{args.device}", title, rows, notes=[peer, *pixels, *NOTES])


if __name__ == "__main__":
    main()
