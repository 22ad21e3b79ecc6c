"""The group ``ray`` of a recipe: what each run of a comparison or search takes of a Ray cluster."""

from typing import Annotated

from pydantic import Field, field_validator

from limbeck.errors import UserError
from limbeck.validation import Settings


class RaySettings(Settings):
    """What each task takes of a Ray cluster, where ``limbeck compare`` and ``limbeck search`` run ``--on ray``.

    ``num_cpus`` is how many cores, by default one; the task computes with as many threads, which is all that these
    settings change. ``num_gpus`` is how many GPUs, by default one where the training runs on CUDA, else none; 0.5 puts
    two runs on one GPU.

    Example:
        >>> settings = RaySettings(num_cpus=4)
        >>> settings.cpus, settings.threads, settings.gpus("cuda"), settings.gpus("cpu")
        (4.0, 4, 1.0, 0.0)
    """

    num_cpus: Annotated[float, Field(gt=0)] | None = None
    num_gpus: Annotated[float, Field(ge=0)] | None = None

    @field_validator("num_cpus", "num_gpus")
    @classmethod
    def _share_or_whole(cls, value: float | None) -> float | None:
        # Ray's own rule, which it has an error of many lines for.
        if value is not None and value > 1 and value != int(value):
            raise UserError(f"got {value:g}, expected a share of one, or a whole number")
        return value

    @property
    def cpus(self) -> float:
        """Cores of a task."""
        return 1.0 if self.num_cpus is None else self.num_cpus

    @property
    def threads(self) -> int:
        """Threads that a task computes with."""
        return max(1, int(self.cpus))

    def gpus(self, device: str) -> float:
        """Return the GPUs of a task.

        Args:
            device: The kind of device that runs train on, such as ``"cuda"``.
        """
        return float(device == "cuda") if self.num_gpus is None else self.num_gpus
