"""A student as one module from the inputs of an exported file to its output."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.export.entrances import AsTheyAre, Entrance, Pixels, entrance_of
from limbeck.models.calling import output_logits
from limbeck.precision import computing_in
from limbeck.students.outputs import class_probabilities
from limbeck.students.student import Student
from limbeck.students.texts import TextPreparation
from limbeck.tasks import Classification, MultiLabel, Segmentation, Task
from limbeck.tasks.segmentation import main_maps

Result = Literal["logits", "probabilities", "classes"]
RESULTS: tuple[Result, ...] = ("logits", "probabilities", "classes")


class Deployed(nn.Module):
    """A network with what stands in front of it and behind it.

    Args:
        network: The network, in eval mode.
        task: Its task.
        entrance: Turns what is given into the network's inputs.
        result: ``"logits"`` (N, C); ``"probabilities"``, with the temperature inside; or ``"classes"``, int64. Those of
            maps have the inputs' height and width.
        temperature: What logits are divided by before they become probabilities.

    Example:
        >>> network = Deployed(nn.Linear(2, 2), Classification(2), AsTheyAre(torch.zeros(1, 2)), "probabilities")
        >>> round(float(network(torch.zeros(1, 2)).detach().sum()), 4)
        1.0
    """

    def __init__(
        self, network: nn.Module, task: Task, entrance: Entrance, result: Result, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.network, self.task, self.entrance = network, task, entrance
        self.result, self.temperature = result, temperature

    def forward(self, *given: Tensor) -> Tensor:
        """Return the result of a batch."""
        inputs = self.entrance(*given)
        logits = self._logits(self.task.call(self.network, inputs), inputs)
        if self.result == "logits":
            return logits
        if self.result == "classes":
            return logits.argmax(dim=1)
        return class_probabilities(logits, self.task, self.temperature)

    def _logits(self, output: Any, inputs: Any) -> Tensor:
        if not isinstance(self.task, Segmentation):
            return output_logits(output).float()
        # Such as a run's figures are: those of maps in the inputs' size.
        maps = main_maps(output).float()
        return F.interpolate(maps, size=inputs.shape[2:], mode="bilinear", align_corners=False)


@dataclass(frozen=True, eq=False)
class Plan:
    """What is exported: a module, and an example of what it is given.

    Attributes:
        module: From the file's inputs to its output.
        reference: From the network's own inputs to the same output, by which a file is verified.
        example: What the module is given, for at least two samples.
        axes: For each input the name of each axis whose length is free.
        limits: The largest length of such an axis by its name, where there is one.
    """

    module: Deployed
    reference: Deployed
    example: tuple[Tensor, ...]
    axes: tuple[dict[int, str], ...]
    limits: Mapping[str, int] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return self.module.entrance.names

    @property
    def result(self) -> Result:
        """The name of the output."""
        return self.module.result

    @property
    def inside(self) -> str:
        """What of the preparation is inside, in words."""
        return self.module.entrance.inside

    def given(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return what the file is given for inputs of the network."""
        return tuple(part.contiguous() for part in self.module.entrance.given(inputs))

    @torch.no_grad()
    def expected(self, inputs: Any) -> Tensor:
        """Return what PyTorch computes in float32 for inputs of the network."""
        with computing_in("fp32", "cpu"):
            result: Tensor = self.reference(*AsTheyAre(inputs).given(inputs))
        return result

    @torch.no_grad()
    def expected_logits(self, inputs: Any) -> Tensor:
        """Return the logits that PyTorch computes in float32."""
        own = self.reference
        with computing_in("fp32", "cpu"):
            result: Tensor = Deployed(own.network, own.task, own.entrance, "logits")(*AsTheyAre(inputs).given(inputs))
        return result


def plan_of(
    student: Student, inputs: Any, *, result: Result = "logits", preprocessing: bool = False, pixels: Pixels = "uint8"
) -> Plan:
    """Plan an export.

    Args:
        student: The student.
        inputs: Inputs of the network for at least two samples.
        result: What the file gives.
        preprocessing: Whether the preparation of raw pixels or cells is inside.
        pixels: Which pixels it takes then.

    Raises:
        UserError: If the task has no such result, or the preparation cannot be inside.
    """
    _check_result(student, result)
    own, entrance = AsTheyAre(inputs), entrance_of(student, inputs, preprocessing=preprocessing, pixels=pixels)
    parts = student.network, student.task
    module = Deployed(*parts, entrance, result, student.temperature).eval()
    example = tuple(part.contiguous() for part in entrance.given(inputs))
    # The network is left in the memory format of the run, whose inputs need not have it.
    reference = Deployed(*parts, own, result, student.temperature).eval()
    prepares: Any = student.preparation
    limits = {"length": prepares.record.max_length} if isinstance(prepares, TextPreparation) else {}
    return Plan(module, reference, example, tuple(_axes(example, is_text=bool(limits))), limits)


def _check_result(student: Student, result: Result) -> None:
    if not isinstance(student.task, Classification | MultiLabel | Segmentation):
        got = f"got a student of task {student.task.name!r}"
        raise UserError(f"export: {got}, expected classification, multilabel or segmentation")
    if result == "classes" and isinstance(student.task, MultiLabel):
        raise UserError("classes: a sample may have several, expected logits or probabilities")


def _axes(example: tuple[Tensor, ...], *, is_text: bool) -> Iterator[dict[int, str]]:
    for part in example:
        yield {0: "batch", 1: "length"} if is_text and part.ndim == 2 else {0: "batch"}
