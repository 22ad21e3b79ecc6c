"""The inputs that a file is verified with: samples of the run's data, or random ones where these are asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_map_only

from limbeck.data.tables.preparation import Preparation
from limbeck.errors import UserError
from limbeck.export.subject import Subject
from limbeck.students.images import ImagePreparation
from limbeck.students.masks import MaskPreparation
from limbeck.students.tables import TablePreparation
from limbeck.students.texts import TextPreparation


@dataclass(frozen=True)
class Inputs:
    """Batches of a network's inputs.

    Attributes:
        batch: Returns inputs of so many samples, or of as many as there are.
        about: What they are, in words.
    """

    batch: Callable[[int], Any]
    about: str


def inputs_of(subject: Subject, *, random: bool = False) -> Inputs:
    """Return the inputs that a subject's file is verified with.

    Args:
        subject: The student and its run.
        random: Use random inputs, not the data.

    Raises:
        UserError: If the data are not there and random inputs are not asked for, or cannot be made.
    """
    if random:
        return Inputs(lambda size: random_inputs(subject, size), "random inputs")
    try:
        _ = subject.data
    except UserError as error:
        expected = "expected the data of the run, or --random-inputs to verify the file on random inputs alone"
        raise UserError(f"export: the file cannot be verified on real samples ({error}); {expected}") from None
    return Inputs(lambda size: subject.batch("test", size).inputs, "samples of the test split")


def random_inputs(subject: Subject, size: int) -> Any:
    """Return random inputs of a student's network: pixels, cells, or tokens, each as likely as any other.

    Raises:
        UserError: If its file does not record what they are.
    """
    student, generator = subject.student, torch.Generator().manual_seed(size)
    prepares: Any = student.preparation
    if isinstance(prepares, ImagePreparation | MaskPreparation):
        shape = (size, *prepares.record.input_shape)
        return student.inputs(torch.randint(256, shape, dtype=torch.uint8, generator=generator))
    if isinstance(prepares, TablePreparation):
        return _cells(prepares.fitted, size, generator)
    if isinstance(prepares, TextPreparation):
        length = 1 + int(torch.randint(prepares.record.max_length, (), generator=generator))
        ids = torch.randint(_vocabulary(subject), (size, length), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    raise UserError("random inputs: the file does not record what its inputs are, expected the data of the run")


def _vocabulary(subject: Subject) -> int:
    about = subject.student.about
    return int((about.get("facts") or about)["vocabulary_size"])


def _cells(fitted: Preparation, size: int, generator: torch.Generator) -> Tensor:
    parts = [torch.randn(size, len(fitted.numeric), generator=generator)]
    for entries in fitted.categories.values():
        places = torch.randint(len(entries), (size,), generator=generator)
        parts.append(F.one_hot(places, len(entries)).float())
    return torch.cat(parts, dim=1).reshape(size, *fitted.shape)


def calibration(subject: Subject, count: int) -> Iterator[Any]:
    """Yield inputs of samples of the training split without augmentation, drawn at random, 32 at a time.

    Args:
        subject: The student and its run.
        count: How many samples.

    Raises:
        UserError: If the data are not there.
    """
    left = min(count, len(subject.data.train))
    for batch in subject.shuffled("train", min(32, left)):
        rows = min(left, batch.size)
        yield tree_map_only(Tensor, itemgetter(slice(rows)), batch.inputs)
        left -= rows
        if not left:
            return
