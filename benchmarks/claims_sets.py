"""The images, rows and texts of the claims: which of them students and teachers learn from, and with which labels.

Every data set is cut by a fixed permutation into a pool, a validation split and other images; the official test split
stays whole. Students learn from the first images of the pool, and teachers from more of the pool or from the others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import limbeck
from claims_imagenette import efficientnet, imagenette
from claims_minilm import folder as minilm_folder
from harness import cifar100_root, shared_data
from limbeck.data import Data, ImageSet, Samples
from limbeck.data.split import hold_out, limit
from limbeck.data.tables import TableSet
from limbeck.data.text.token_set import TextSet
from limbeck.errors import UserError

# How many images the pool and the validation split have; what is left are the others.
CUTS = {
    "sample": (2000, 200),
    "fashion": (20_000, 5000),
    "cifar100": (20_000, 5000),
    "imagenette": (2000, 500),
    "letters": (8000, 2000),
    "banking": (5000, 1000),
    "banking_minilm": (5000, 1000),
    "sst2": (4000, 1000),
}
SOURCES = (*CUTS, "cifar100_unseen")
# Those whose samples nothing varies: rows of numbers, and texts.
UNVARIED = ("letters", "banking", "banking_minilm", "sst2")
# By which loader the shared data are read, from where, and with which options. A tokenizer is trained on all training
# texts, so that students and teachers have the same tokens.
READ: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "fashion": ("fashion_mnist", "fashion-mnist", {}),
    "letters": ("table", "letter/letter.csv", {"label": "Letter", "test_rows": 4000}),
    "banking": ("text", "banking77", {"vocabulary_size": 4000, "max_length": 48}),
    "sst2": ("text", "sst2", {"vocabulary_size": 8000, "max_length": 64}),
}


@dataclass(frozen=True)
class Images:
    """Training images, rows or texts with their labels.

    Attributes:
        source: One of ``SOURCES``; ``cifar100_unseen`` is cut from the official test split alone, so that a teacher of
            the training split has seen none of it.
        count: How many.
        others: Whether they are from outside the pool.
        wrong: The share of labels that are another class, drawn evenly.
        circles: How many times three of the first classes have their labels exchanged in a circle.
    """

    source: str
    count: int
    others: bool = False
    wrong: float = 0.0
    circles: int = 0

    @property
    def name(self) -> str:
        """The name that recipes have for them."""
        marks = ["others"] * self.others + [f"wrong{100 * self.wrong:.0f}"] * bool(self.wrong)
        marks += [f"permuted{3 * self.circles if self.circles > 1 else ''}"] * bool(self.circles)
        return "_".join(["claims", self.source, str(self.count), *marks])


def in_circles(labels: Tensor, circles: int) -> Tensor:
    """Exchange classes 0 to ``3 * circles - 1``, three at a time: 0 becomes 1, 1 becomes 2, 2 becomes 0."""
    return torch.where(labels < 3 * circles, labels - labels % 3 + (labels + 1) % 3, labels)


def with_wrong(labels: Tensor, share: float, classes: int) -> Tensor:
    """Give a share of the labels another class, the same ones at every call."""
    generator = torch.Generator().manual_seed(1)
    chosen = torch.rand(len(labels), generator=generator).argsort()[: round(share * len(labels))]
    moved = 1 + torch.randint(classes - 1, (len(chosen),), generator=generator)
    return labels.index_put((chosen,), (labels[chosen] + moved) % classes)


def at(path: str) -> Path:
    """Return where a data set of the shared data lies."""
    shared = shared_data()
    if shared is None:
        raise UserError(f"{path}: expected LIMBECK_SHARED, a folder with data/{path}")
    return shared / path


@cache
def whole(source: str, root: Path | None) -> Data:
    """Load the data set that images, rows or texts are cut from."""
    if source == "sample":
        return limbeck.data.load("fashion_mnist_sample")
    if source == "imagenette":
        return imagenette(at("imagenette-144") / "imagenette-144.zip", keep=root)
    if source == "cifar100":
        with cifar100_root(None, keep=root) as folder:
            return limbeck.data.load("cifar100", root=folder)
    if source == "banking_minilm":
        # The same texts as the tokens of a network that others trained.
        tokens = {"tokenizer": str(minilm_folder()), "max_length": 48}
        return limbeck.data.load("text", root=at("banking77"), options=tokens)
    loader, path, options = READ[source]
    return limbeck.data.load(loader, root=at(path), options=options)


def parts(source: str, root: Path | None) -> tuple[Samples, Samples, Samples, Samples]:
    """Cut a data set into the pool, a validation split, the others and the test split."""
    data = whole("cifar100" if source == "cifar100_unseen" else source, root)
    if source == "cifar100_unseen":
        rest, pool = (data.test.select(part) for part in hold_out(data.test.labels, 0.5, seed=0))
        test, validation = (rest.select(part) for part in hold_out(rest.labels, 0.2, seed=0))
        return pool, validation, data.train, test
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    pool_size, held_out = CUTS[source]
    cuts = (pool_size, pool_size + held_out)
    pool, validation, others = (data.train.select(part) for part in order.tensor_split(cuts))
    return pool, validation, others, data.test


def load(images: Images, root: Path | None) -> Data:
    """Return a data set with these training images; fewer of the same kind are among more of them."""
    pool, validation, others, test = parts(images.source, root)
    train = others if images.others else pool
    train = train.select(limit(train.labels, images.count, seed=0, key="count"))
    data = whole(images.source.removesuffix("_unseen"), root)
    labels = with_wrong(train.labels, images.wrong, len(data.classes))
    labels = in_circles(labels, images.circles)
    assert isinstance(train, ImageSet | TableSet | TextSet)
    return replace(data, train=replace(train, labels=labels), validation=validation, test=test)


def register(images: Images, root: Path | None) -> str:
    """Make images known to recipes, and return their name there.

    Args:
        images: The images.
        root: The folder that CIFAR-100 is unpacked to.
    """
    # Two seeds or methods share their images.
    loader: Callable[[], Data] = cache(partial(load, images, root))
    if images.name not in limbeck.data.names():
        limbeck.data.register(images.name, loader)
    return images.name


class Permuted(nn.Module):
    """A teacher that is sure and wrong on classes 0 to ``3 * circles - 1``, which it exchanges in circles of three."""

    def __init__(self, network: nn.Module, circles: int) -> None:
        super().__init__()
        self.network, self.circles = network, circles

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        count = 3 * self.circles
        # Column c of the result is what the network gives the class before c in its circle.
        moved = logits[:, :count].reshape(-1, self.circles, 3).roll(1, dims=2).flatten(1)
        return torch.cat([moved, logits[:, count:]], dim=1)


def micronet(circles: int = 0, **_: Any) -> nn.Module:
    """Load the CIFAR-100 teacher of the shared data, which nobody here trained."""
    network: nn.Module = import_module("teacher").load()
    return Permuted(network, circles) if circles else network


def imagenet(circles: int = 0, **_: Any) -> nn.Module:
    """Load the ImageNet teacher of Imagenette's classes, which nobody here trained."""
    network = efficientnet()
    return Permuted(network, circles) if circles else network
