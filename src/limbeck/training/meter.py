"""Sums over the batches of an epoch, kept on the device."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from limbeck.distiller import Output
from limbeck.errors import UserError
from limbeck.ranks import gathered, is_first, rank, summed, world_size
from limbeck.training.wording import Wording


class EpochMeter:
    """Adds up loss, parts and figures of an epoch's batches.

    Args:
        wording: The names of the figures; none by default.

    Example:
        >>> from limbeck.rows import Rows
        >>> out = Output(torch.tensor(2.0), {"ce": torch.tensor(2.0)}, {"main": Rows(torch.eye(3))})
        >>> meter = EpochMeter()
        >>> meter.add(out, 3, {"accuracy": torch.tensor(2)})
        >>> {name: round(value, 3) for name, value in meter.means().items()}
        {'loss': 2.0, 'ce': 2.0, 'accuracy': 0.667}
    """

    def __init__(self, wording: Wording | None = None) -> None:
        self.wording = wording or Wording()
        self.samples: Tensor | float = 0
        self._names: list[str] = []
        self._sums: Tensor | None = None

    @torch.no_grad()
    def gather(self) -> None:
        """Add the sums of the other processes; all processes call this together."""
        if self._sums is not None:
            counted = summed(torch.cat([self._sums, self._sums.new_tensor([float(self.samples)])]))
            self._sums, self.samples = counted[:-1], float(counted[-1])

    @torch.no_grad()
    def add(self, out: Output, samples: Tensor | float, figures: Mapping[str, Tensor]) -> None:
        """Count one batch, without a device synchronization.

        Args:
            out: Its losses, means over the batch.
            samples: Its number of samples, or as many as it counts for.
            figures: Further figures, sums over the batch's samples; see :meth:`limbeck.tasks.Task.figures`.

        Raises:
            UserError: If a figure has the name of a loss.
        """
        if taken := figures.keys() & {"loss", *out.parts}:
            raise UserError(f"figures: got {min(taken)!r}, which is the name of a loss, expected other names")
        values = torch.stack([out.loss, *out.parts.values()]) * samples
        sums = torch.cat([values.detach(), *(figure[None].to(values.dtype) for figure in figures.values())])
        if self._sums is not None and self._sums.device != sums.device:
            # From a checkpoint, which is read to the CPU.
            self._sums = self._sums.to(sums.device)
        self._sums = sums if self._sums is None else self._sums.add_(sums)
        self._names = ["loss", *out.parts, *figures]
        self.samples += samples

    def means(self) -> dict[str, float]:
        """Read the means over the samples so far; this waits for the device."""
        if self._sums is None:
            return {}
        return dict(zip(self._names, (self._sums / self.samples).tolist(), strict=True))

    def state(self, *, several: bool = False) -> dict[str, Any]:
        """Return what :meth:`load` goes on from: the sums of each process; several processes call this together."""
        samples = float(self.samples) if isinstance(self.samples, Tensor) else self.samples
        own = (samples, None if self._sums is None else self._sums.cpu())
        every = gathered(own) if several else [own]
        return {"names": list(self._names), "samples": [n for n, _ in every], "sums": [sums for _, sums in every]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of :meth:`state`, on the device of the next batch.

        With another number of processes than there were, the first one takes all sums.
        """
        self._names, samples, sums = list(state["names"]), state["samples"], [*filter(torch.is_tensor, state["sums"])]
        if len(samples) == world_size():
            samples, sums = samples[rank() : rank() + 1], sums[rank() : rank() + 1]
        elif not is_first():
            samples, sums = [], [torch.zeros_like(each) for each in sums]
        self.samples = sum(samples)
        self._sums = torch.stack(sums).sum(0) if sums else None
