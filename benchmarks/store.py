"""Images a second of a folder of JPEGs: torchvision's ImageFolder, our views of the files, and of the pixel store.

    python benchmarks/store.py --images 512
    python benchmarks/store.py --images 32 --width 4000 --height 3000

Images of 500x375 pixels or of another size, inputs of 224, batches of 64, in one process with one thread, so that
loaders' workers do not count. All ways end with normalized float32 batches, ours in the layout that our trainings use
on a CPU (channels_last). Seconds are those of the process, without what others computed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from harness import Loop, in_turns, middle, ratios, span
from limbeck.build.pixels import with_store
from limbeck.data import Augment, Data, load
from limbeck.recipes.data_settings import DataSettings
from record import record

SIZE, BATCH = 224, 64
PEER = "torchvision ImageFolder, v2 transforms"
WAYS: dict[str, dict[str, Any]] = {
    "crops of any scale, flips": {"scale": (0.08, 1.0), "flip": True},
    "centers, crops by 8 pixels, flips": {"crop": 8, "flip": True},
}
NOTES = (
    "The store holds the images decoded and resized (shorter side 256 for crops of any scale, else centers of 224).",
    "store, filling: decoding and writing all images, which is done once for all epochs, runs, methods and seeds.",
)


def write_photos(root: Path, count: int, *, width: int = 500, height: int = 375) -> None:
    """Write JPEGs with the content of photos as far as it matters to a decoder: smooth shapes and some noise."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        coarse = torch.rand(1, 3, 12, 16, generator=generator)
        smooth = F.interpolate(coarse, size=(height, width), mode="bicubic")[0].clamp(0, 1)
        noisy = (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
        path = root / str(number % 2) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * noisy).byte().permute(1, 2, 0).numpy()).save(path, quality=90)


def peer(root: Path, data: Data, augment: Augment) -> Loop:
    """Return an epoch of torchvision's loader."""
    if augment.scale is not None:
        cut: list[v2.Transform] = [v2.RandomResizedCrop(SIZE, scale=augment.scale, antialias=True)]
    else:
        cut = [v2.Resize(SIZE, antialias=True), v2.CenterCrop(SIZE), v2.RandomCrop(SIZE, padding=augment.crop)]
    last = [v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(data.mean, data.std)]
    images = ImageFolder(str(root), transform=v2.Compose([v2.PILToTensor(), *cut, *last]))
    return run_through(lambda _: DataLoader(images, BATCH, shuffle=True))


def ours(data: Data, augment: Augment) -> Loop:
    """Return an epoch of our batches."""
    batches = data.batches(data.train, batch_size=BATCH, augment=augment, shuffle=True, channels_last=True)
    return run_through(batches.epoch)


def run_through(epoch: Callable[[int], Any]) -> Loop:
    """Return a loop that takes every batch of an epoch."""

    def loop(number: int) -> None:
        for _ in epoch(number):
            pass

    return loop


def rows(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure every way of making batches."""
    root = folder / "photos"
    # A part of them is ours' test split, so that torchvision's folder has as many as our training split.
    shape = {"width": args.width, "height": args.height}
    write_photos(root / "train", args.images, **shape)
    write_photos(root / "test", 4, **shape)
    files, found = load("image_folder", root=root, size=SIZE), []
    for about, values in WAYS.items():
        augment = Augment(**values)
        settings = DataSettings(name="image_folder", root=root, size=SIZE, augment=augment, store="disk")
        began = time.process_time()
        stored = with_store(files, settings, folder / "cache")
        filling = time.process_time() - began
        loops = {
            PEER: peer(root / "train", files, augment),
            "files": ours(files, augment),
            "store": ours(stored, augment),
        }
        taken = in_turns(loops, args.rounds, time.process_time)
        for name, seconds in taken.items():
            speedup = ratios(taken, PEER, name)
            figures = {"images/s": round(args.images / middle(seconds, 6)), "times torchvision": middle(speedup, 2)}
            found.append({"views": about, "by": name, **figures, "range": span(speedup, 2)})
        found.append({"views": about, "by": "store, filling", "images/s": round(args.images / filling)})
    return found


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Images a second of a folder of JPEGs.")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--height", type=int, default=375)
    return parser.parse_args(words)


def main() -> None:
    """Measure and keep the result."""
    args = arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        measured = rows(args, Path(folder))
    size = f"{args.width}x{args.height}"
    name = "store" if size == "500x375" else f"store-{size}"
    record(name, f"{args.images} JPEGs of {size} pixels at {SIZE}, one thread", measured, NOTES)


if __name__ == "__main__":
    main()
