"""``limbeck export``: a student as a file for other programs, verified against PyTorch."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from torch import Tensor

from limbeck.cache.spec import size
from limbeck.errors import UserError, shortened, unknown_name
from limbeck.export.deployed import RESULTS, Plan, Result, plan_of
from limbeck.export.entrances import PIXELS, Pixels
from limbeck.export.inputs import Inputs, calibration, inputs_of
from limbeck.export.measuring import measured
from limbeck.export.places import check_places, move_all
from limbeck.export.programs import exported_program, write_onnx, write_program
from limbeck.export.quantizing import write_int8
from limbeck.export.recorded import recorded, tokenizer_text
from limbeck.export.running import Runner, onnx_runner, program_runner
from limbeck.export.subject import Subject, read_subject
from limbeck.export.verifying import SIZES, TOLERANCE, Verified, check, verify
from limbeck.files import expanded
from limbeck.imports import optional_package
from limbeck.reporting import Log, no_log
from limbeck.students.loading import load

Format = Literal["onnx", "torch-export", "safetensors"]
_ENDINGS: dict[str, str] = {"onnx": ".onnx", "torch-export": ".pt2", "safetensors": ".safetensors"}
_TOKENIZER = "tokenizer.json"
# Weights do not depend on the batch, and are compared bit for bit.
_EXACT = 0.0


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: The files: the student first, then that of 8-bit numbers and the tokenizer, where there are any.
        verified: How far the file is from PyTorch.
        figures: The test split's figures, such as ``float32.accuracy`` and ``int8.accuracy``; of an export to 8-bit
            numbers alone.
    """

    files: tuple[Path, ...]
    verified: Verified
    figures: Mapping[str, float] = field(default_factory=dict)


def export_student(
    path: str | Path,
    out: str | Path | None = None,
    *,
    format: Format = "onnx",
    result: Result = "logits",
    preprocessing: bool = False,
    pixels: Pixels = "uint8",
    int8: bool = False,
    calibration_samples: int = 256,
    tolerance: float = TOLERANCE,
    random_inputs: bool = False,
    overwrite: bool = False,
    task: str | None = None,
    trust: bool = False,
    log: Log = no_log,
) -> Exported:
    """Write a student as a file for other programs, after comparing that file with PyTorch.

    The file computes in float32, whatever the run was trained in, and takes batches of any size. Nothing is written
    where anything fails.

    Args:
        path: The folder of a run, or a student's file.
        out: The file; by default the run's name with the format's ending, in the working folder.
        format: ``"onnx"``, ``"torch-export"`` (``.pt2``) or ``"safetensors"``, which is read by :func:`limbeck.load`.
        result: ``"logits"``, ``"probabilities"`` (with the temperature inside) or ``"classes"``.
        preprocessing: Whether the file takes raw pixels or cells of a table, and prepares them itself.
        pixels: Which pixels: ``"uint8"`` (0 to 255) or ``"float"`` (float32 in [0, 1]).
        int8: Whether to write a file of 8-bit numbers beside it, ``NAME.int8.onnx``.
        calibration_samples: How many samples of the training split decide the ranges of these numbers.
        tolerance: The largest difference from PyTorch, as a share of the largest logit; see
            :class:`limbeck.export.Verified`.
        random_inputs: Whether random inputs are enough to verify the file, where the run's data are gone.
        overwrite: Whether files that are there may be replaced.
        task: The task, for files of earlier versions, which do not record it.
        trust: Whether the file and its recipe may name any ``python:`` code, as for :func:`limbeck.load`.
        log: Where lines about what is done go.

    Returns:
        The files, and how they compare.

    Raises:
        UserError: If anything given cannot be used, a package is missing (``limbeck[export]``), an operator cannot be
            exported, or the file differs from PyTorch by more than the bound.
        RunError: If the file cannot be written.

    Example:
        >>> import limbeck, tempfile
        >>> recipe = {"data": {"name": "iris"}, "student": "mlp", "method": "none", "training": {"epochs": 1}}
        >>> run = limbeck.run(recipe, out=tempfile.mkdtemp())
        >>> done = export_student(run.folder, run.folder.parent / "iris.pt2", format="torch-export", overwrite=True)
        >>> done.verified.difference < 1e-6, done.files[0].name
        (True, 'iris.pt2')
    """
    if format not in _ENDINGS:
        raise unknown_name("format", format, _ENDINGS)
    wanted = _Wanted(format, result, preprocessing, pixels, int8, calibration_samples, tolerance)
    wanted.check()
    subject = read_subject(path, task=task, trust=trust)
    places = _places(subject, expanded(out) if out else Path(f"{subject.name}{_ENDINGS[format]}"), wanted)
    check_places([place for place in places if not _is_its_tokenizer(place, subject)], overwrite=overwrite)
    with TemporaryDirectory() as folder:
        export = _Export(subject, wanted, inputs_of(subject, random=random_inputs), Path(folder), log)
        sources, verified, figures = export.written()
        move_all(dict(zip(places, sources, strict=True)))
    for place in places:
        log(f"{place}: {size(place.stat().st_size)}")
    return Exported(tuple(places), verified, figures)


@dataclass(frozen=True)
class _Wanted:
    """The settings of an export."""

    format: Format
    result: Result
    preprocessing: bool
    pixels: Pixels
    int8: bool
    calibration: int
    tolerance: float

    def check(self) -> None:
        """Refuse what does not fit together, and packages that are missing, before anything is loaded."""
        if self.result not in RESULTS:
            raise unknown_name("result", self.result, RESULTS)
        if self.pixels not in PIXELS:
            raise unknown_name("kind of pixels", self.pixels, PIXELS)
        if not 0 <= self.tolerance < math.inf:
            raise UserError(f"tolerance: got {self.tolerance}, expected a number of at least 0")
        if self.calibration < 1:
            raise UserError(f"calibration: got {self.calibration}, expected a whole number of at least 1")
        if self.int8 and self.format != "onnx":
            raise UserError(f"int8: got the format {self.format}, expected onnx")
        if self.format == "safetensors" and (self.preprocessing or self.result != "logits"):
            got = "holds weights, to which limbeck.load adds the preparation and the probabilities"
            raise UserError(f"safetensors: {got}; expected neither of them inside, or another format")
        if self.format == "onnx":
            for package in ("onnx", "onnxscript", "onnxruntime"):
                optional_package(package, "export", "export to ONNX")


def _places(subject: Subject, out: Path, wanted: _Wanted) -> list[Path]:
    if out.suffix != _ENDINGS[wanted.format]:
        got = shortened(str(out), 200, quoted=False)
        raise UserError(f"out: got {got}, expected a name that ends in {_ENDINGS[wanted.format]}")
    if out.exists() and out.samefile(subject.student.path):
        raise UserError(f"{out}: is the student itself, expected another --out")
    int8 = [out.with_name(f"{out.stem}.int8.onnx")] if wanted.int8 else []
    is_text = wanted.format != "safetensors" and tokenizer_text(subject.student.about) is not None
    return [out, *int8, *([out.with_name(_TOKENIZER)] if is_text else [])]


def _is_its_tokenizer(place: Path, subject: Subject) -> bool:
    """Return whether a file is the tokenizer that another format of the same student has left there."""
    text = tokenizer_text(subject.student.about)
    return place.name == _TOKENIZER and place.is_file() and place.read_bytes() == (text or "").encode()


@dataclass(frozen=True)
class _Export:
    """One export into a temporary folder."""

    subject: Subject
    wanted: _Wanted
    inputs: Inputs
    folder: Path
    log: Log

    def written(self) -> tuple[list[Path], Verified, dict[str, float]]:
        """Write and verify all files; return them, what was found, and the figures."""
        student, wanted = self.subject.student, self.wanted
        self.log(_about(self.subject))
        options: dict[str, Any] = {"preprocessing": wanted.preprocessing, "pixels": wanted.pixels}
        plan = plan_of(student, self._example(), result=wanted.result, **options)
        file = self.folder / f"student{_ENDINGS[wanted.format]}"
        run = self._write(plan, file)
        bound = _EXACT if wanted.format == "safetensors" else wanted.tolerance
        verified = verify(plan, run, self.inputs.batch, SIZES, self.inputs.about)
        check(verified, bound)
        self.log(verified.line)
        sources, figures = [file], {}
        if wanted.int8:
            sources.append(self.folder / "student.int8.onnx")
            figures = self._quantize(plan, file, sources[-1])
        if wanted.format != "safetensors" and (text := tokenizer_text(student.about)) is not None:
            sources.append(self.folder / _TOKENIZER)
            sources[-1].write_text(text, encoding="utf-8")
        return sources, verified, figures

    def _example(self) -> Any:
        example = self.inputs.batch(4)
        if len(next(iter(example.values())) if isinstance(example, Mapping) else example) < 2:
            raise UserError("export: the test split has one sample, expected at least 2, or --random-inputs")
        return example

    def _write(self, plan: Plan, file: Path) -> Runner:
        student, about = self.subject.student, recorded(self.subject.student, plan)
        if self.wanted.format == "safetensors":
            file.write_bytes(student.path.read_bytes())
            return _network_runner(self.subject, plan, file)
        program = exported_program(plan)
        if self.wanted.format == "torch-export":
            write_program(program, file, about)
            return program_runner(file)
        write_onnx(program, plan, file, about)
        return onnx_runner(file)

    def _quantize(self, plan: Plan, source: Path, target: Path) -> dict[str, float]:
        """Write the file of 8-bit numbers, and return the figures before and after."""
        batches: Iterator[Sequence[Tensor]] = map(plan.given, calibration(self.subject, self.wanted.calibration))
        write_int8(source, target, plan.names, batches)
        metric = self.subject.student.task.primary
        runs: dict[str, Callable[[Any], Tensor]] = {"float32": _on(plan, source), "int8": _on(plan, target)}
        values = {name: measured(self.subject, plan, run).values[metric.name] for name, run in runs.items()}
        samples = min(self.wanted.calibration, len(self.subject.data.train))
        self.log(
            f"int8: calibrated on {samples} samples of the training split; test {metric.title} "
            f"{metric.text(values['float32'])} before, {metric.text(values['int8'])} after"
        )
        return {f"{name}.{metric.name}": value for name, value in values.items()}


def _on(plan: Plan, file: Path) -> Callable[[Any], Tensor]:
    run = onnx_runner(file)
    return lambda inputs: run(plan.given(inputs))


def _network_runner(subject: Subject, plan: Plan, file: Path) -> Runner:
    """Return the network of a copied file, whose code was checked when the original was loaded."""
    again = load(file, task=subject.task, trust=True)
    inputs = plan.module.entrance
    copied = plan_of(again, inputs(*plan.example), result="logits")
    return lambda given: copied.expected(inputs(*given))


def _about(subject: Subject) -> str:
    student = subject.student
    count = sum(parameter.numel() for parameter in student.network.parameters())
    lowered = student.computing.precision
    note = "" if lowered == "fp32" else f"; the run was measured in {lowered}, the file computes in float32"
    return f"{subject.name}: {student.name}, {count:,} parameters, {len(student.classes)} classes{note}"
