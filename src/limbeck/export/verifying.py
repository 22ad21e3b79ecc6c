"""Whether an exported file computes what PyTorch does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limbeck.errors import UserError
from limbeck.export.deployed import Plan
from limbeck.export.running import Runner

TOLERANCE = 1e-4
SIZES = (1, 3, 7, 64)


@dataclass(frozen=True)
class Verified:
    """How far a file's output is from PyTorch's.

    Attributes:
        difference: The largest difference, divided by ``scale``; of classes by how much the logit of another class than
            PyTorch's falls below the largest one.
        scale: The largest absolute logit that PyTorch computed, at least 1; 1 for probabilities.
        samples: How many samples were compared.
        sizes: The sizes of the batches.
        inputs: What they were, in words.
    """

    difference: float
    scale: float
    samples: int
    sizes: tuple[int, ...]
    inputs: str

    @property
    def line(self) -> str:
        """The finding in a line.

        Example:
            >>> Verified(1e-7, 12.5, 4, (1, 3), "samples of the test split").line
            'verified on 4 samples of the test split, in batches of 1, 3: largest difference 1.0e-07 of 12.5'
        """
        sizes = ", ".join(map(str, self.sizes))
        of = "" if self.scale == 1 else f" of {self.scale:.3g}"
        where = f"verified on {self.samples} {self.inputs}, in batches of {sizes}"
        return f"{where}: largest difference {self.difference:.1e}{of}"


def verify(plan: Plan, run: Runner, batch: Callable[[int], Any], sizes: Sequence[int], inputs: str) -> Verified:
    """Compare a file's output with PyTorch's in float32, in batches of several sizes.

    Args:
        plan: What was exported.
        run: Runs the file.
        batch: Returns the network's inputs for so many samples, or fewer.
        sizes: The sizes of the batches.
        inputs: What the inputs are, in words.

    Returns:
        What was found, whatever it is; see :func:`check`.

    Raises:
        UserError: If the file's output has another shape than PyTorch's.
    """
    differences, scale, counts = [0.0], 1.0, []
    for size in sizes:
        given = batch(size)
        expected, got = plan.expected(given), run(plan.given(given))
        if got.shape != expected.shape:
            shapes = f"{tuple(got.shape)} in the file and {tuple(expected.shape)} in PyTorch"
            raise UserError(f"export: the output of {len(expected)} samples is {shapes}, expected the same")
        counts.append(len(expected))
        if plan.result == "logits":
            scale = max(scale, float(expected.abs().max()))
        differences.append(_difference(plan, given, expected, got))
    # max() of Python keeps or loses what is no number, by its place.
    largest = float(torch.tensor(differences, dtype=torch.float64).max())
    return Verified(largest / scale, scale, sum(counts), tuple(dict.fromkeys(counts)), inputs)


def check(verified: Verified, tolerance: float) -> None:
    """Refuse a file that is further from PyTorch than the bound.

    Raises:
        UserError: If it is.

    Example:
        >>> check(Verified(0.5, 1.0, 1, (1,), "samples of the test split"), 1e-4)
        Traceback (most recent call last):
        limbeck.errors.UserError: export: verified on 1 samples ... difference 5.0e-01, expected at most 0.0001 ...
    """
    # Also where it is no number.
    if not verified.difference <= tolerance:
        raise UserError(f"export: {verified.line}, expected at most {tolerance:g} (--tolerance); no file is written")


def _difference(plan: Plan, given: Any, expected: Tensor, got: Tensor) -> float:
    if plan.result != "classes":
        return float((got.double() - expected.double()).abs().max())
    logits = plan.expected_logits(given)
    lost = logits.amax(dim=1, keepdim=True) - logits.gather(1, got.long().unsqueeze(1))
    return float(lost.max())
