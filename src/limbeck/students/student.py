"""A trained student: its network, its classes, and the preparation of its inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.precision import computing_in
from limbeck.students.made import Made, Preparation, Skipped
from limbeck.students.outputs import Boxes, Maps, interpreted, joined
from limbeck.students.record import ComputingRecord
from limbeck.tasks import Task


@dataclass(frozen=True, eq=False)
class Student:
    """A trained student, from :func:`limbeck.load`.

    Attributes:
        path: Its file.
        name: The network's name.
        network: The network, in eval mode, on the CPU.
        classes: The class names.
        task: What it was trained for.
        temperature: What logits are divided by before they become probabilities.
        preparation: Makes inputs of raw samples; None where the data's own code made them.
        computing: The precision, memory format and batch size that the run measured it with, in which it predicts.
        about: Everything that the file records.
        notes: Remarks for its user, in lines.

    Example:
        >>> from limbeck.tasks import Classification
        >>> student = Student(Path("student.safetensors"), "linear", nn.Linear(4, 2), ("no", "yes"), Classification(2))
        >>> student.probabilities(torch.zeros(1, 2))
        tensor([[0.5000, 0.5000]])
    """

    path: Path
    name: str
    network: nn.Module
    classes: tuple[str, ...]
    task: Task
    temperature: float = 1.0
    preparation: Preparation | None = None
    computing: ComputingRecord = field(default_factory=ComputingRecord)
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def batches(self, samples: Any, *, batch_size: int | None = None, skipped: Skipped | None = None) -> Iterator[Made]:
        """Yield raw samples as the network's inputs, exactly as the run made those of its test split.

        Args:
            samples: A list of images (files, images of Pillow, uint8 pixels), or of texts or sentence pairs; or rows of
                a table: a file, a data frame, a mapping of columns, a list of mappings.
            batch_size: How many a batch has at most; by default what the run measured with.
            skipped: Receives the samples that cannot be read, by position, which are left out; None raises the first
                one's error.

        Raises:
            UserError: If a sample cannot be read or is of another kind, or the file records no preparation.
        """
        preparation = self.needed_preparation()
        if batch_size is not None and batch_size < 1:
            raise UserError(f"batch_size: got {batch_size}, expected a whole number of at least 1")
        return preparation.batches(samples, batch_size or self.computing.batch_size, skipped)

    def needed_preparation(self) -> Preparation:
        """Return the preparation.

        Raises:
            UserError: If the file records none.
        """
        if self.preparation is None:
            got = f"{self.path}: does not record how samples become inputs (the code of data {self.about.get('data')})"
            raise UserError(f"{got}; expected inputs that are ready, for student.network")
        return self.preparation

    def inputs(self, samples: Any) -> Any:
        """Return raw samples as one batch of the network's inputs; the arguments are those of :meth:`batches`.

        Raises:
            UserError: As for :meth:`batches`, and if there are no samples.
        """
        made = next(self.batches(samples, batch_size=2**31), None)
        if made is None:
            raise UserError("samples: got none, expected at least one")
        return made.inputs

    @torch.no_grad()
    def output(self, inputs: Any) -> Any:
        """Run the network on a batch of inputs, in the precision that the run measured it in.

        Float16, which CPUs are slow in, counts as float32.

        Args:
            inputs: What :meth:`inputs` returns.

        Returns:
            What the network returns.
        """
        precision = "fp32" if self.computing.precision == "fp16" else self.computing.precision
        with computing_in(precision, "cpu"):
            return self.task.call(self.network, inputs)

    def probabilities(self, output: Any, *, inputs: Any = None) -> Tensor | Maps | list[Boxes]:
        """Turn an output into predictions.

        Args:
            output: What :meth:`output` returned.
            inputs: The inputs; maps are enlarged to their size.

        Returns:
            float32 (N, C) probabilities, that of each class on its own where a sample may have several; maps of classes
            with their probabilities; or boxes, in pixels of the inputs.

        Raises:
            UserError: If the task is none of limbeck's.
        """
        size = (inputs.shape[2], inputs.shape[3]) if isinstance(inputs, Tensor) and inputs.ndim == 4 else None
        return interpreted(output, self.task, size=size, temperature=self.temperature)

    def predict(self, samples: Any, *, batch_size: int | None = None) -> Any:
        """Predict raw samples.

        Args:
            samples: As for :meth:`batches`.
            batch_size: As for that. Another one can change the last bits of a network's output.

        Returns:
            float32 (N, C) probabilities; for segmentation :class:`Maps` in the inputs' size; for detection a list of
            :class:`Boxes`, in pixels of the images as they were given.

        Raises:
            UserError: As for :meth:`batches`, and if there are no samples.
        """
        parts = [predicted for _, predicted in self.predictions(samples, batch_size=batch_size)]
        if not parts:
            raise UserError("samples: got none, expected at least one")
        return joined(parts)

    def predictions(
        self, samples: Any, *, batch_size: int | None = None, skipped: Skipped | None = None
    ) -> Iterator[tuple[Made, Tensor | Maps | list[Boxes]]]:
        """Yield each batch of inputs with its predictions; the arguments are those of :meth:`batches`.

        Raises:
            UserError: As for :meth:`batches`, and if a probability is nan.
        """
        for made in self.batches(samples, batch_size=batch_size, skipped=skipped):
            found = self.probabilities(self.output(made.inputs), inputs=made.inputs)
            _check_numbers(found, made, self.path)
            yield made, _in_given_pixels(found, made) if isinstance(found, list) else found

    def with_temperature(self, temperature: float) -> "Student":
        """Return the student with another temperature.

        Raises:
            UserError: If it is not above 0.
        """
        if not 0 < temperature < float("inf"):
            raise UserError(f"temperature: got {temperature}, expected a number above 0")
        return replace(self, temperature=temperature)


def _check_numbers(found: Tensor | Maps | list[Boxes], made: Made, path: Path) -> None:
    """Refuse probabilities that are nan: those of damaged weights; a box that is none is no box."""
    if isinstance(found, list):
        return
    values = found.probabilities if isinstance(found, Maps) else found
    bad = values.isnan().flatten(1).any(dim=1).nonzero().flatten().tolist()
    if bad:
        got = f"{path}: its probabilities of sample {made.positions[bad[0]] + 1} are nan"
        raise UserError(f"{got}, expected numbers; its weights are damaged, or those of a training that diverged")


def _in_given_pixels(found: list[Boxes], made: Made) -> list[Boxes]:
    """Scale boxes from the images that the network took to those that were given."""
    scaled = []
    for boxes, image, (height, width) in zip(found, made.inputs["images"], made.sizes, strict=True):
        down, across = height / image.shape[1], width / image.shape[2]
        scaled.append(boxes._replace(boxes=boxes.boxes * torch.tensor([across, down, across, down])))
    return scaled
