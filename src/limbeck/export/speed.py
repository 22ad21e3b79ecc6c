"""``limbeck speed``: what students and their teachers take on this machine, and what they reach."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.build.networks import parameter_count
from limbeck.build.trial import multiply_adds
from limbeck.cache.spec import size
from limbeck.errors import RunError, UserError
from limbeck.export.deployed import Plan, plan_of
from limbeck.export.inputs import calibration, inputs_of
from limbeck.export.measuring import measured
from limbeck.export.programs import exported_program, write_onnx, write_program
from limbeck.export.quantizing import write_int8
from limbeck.export.recorded import recorded
from limbeck.export.running import onnx_runner, program_runner
from limbeck.export.subject import Subject, read_subject
from limbeck.export.teacher import teacher_of
from limbeck.export.timing import BATCHES, Timing, time_file
from limbeck.export.verifying import SIZES, TOLERANCE, check, verify
from limbeck.files import content_digest
from limbeck.imports import optional_package
from limbeck.reporting import Log, no_log
from limbeck.tasks import Metric

# Of several threads some wait for others.
_UNDISTURBED = 0.7
FORMS = {"torch": "PyTorch float32", "onnx": "ONNX float32", "int8": "ONNX int8"}


@dataclass(frozen=True)
class Speed:
    """What one form of a network takes and reaches.

    Attributes:
        name: The run, or ``teacher of RUN``.
        network: The network's name.
        form: ``"torch"``, ``"onnx"`` or ``"int8"``.
        value: The task's primary metric on the test split; None where it is not known.
        timing: What it takes.
        file: The size of its file in bytes.
        parameters: How many it has.
        multiply_adds: Of a forward pass of one sample.
    """

    name: str
    network: str
    form: str
    value: float | None
    timing: Timing
    file: int
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Speeds:
    """What was measured of several runs.

    Attributes:
        rows: A row for each form of each network.
        metric: What ``value`` is.
        notes: Lines about how it was measured, what is missing, and what the distillation bought.
    """

    rows: tuple[Speed, ...]
    metric: Metric
    notes: tuple[str, ...]

    def cells(self) -> list[dict[str, str]]:
        """Return the rows as the cells of a table, by column; see :func:`limbeck.report.to_rich`."""
        return [_cells(row, self.metric) for row in self.rows]


def measure_speed(
    paths: Sequence[str | Path],
    *,
    int8: bool = True,
    threads: int | None = None,
    seconds: float = 2.0,
    calibration_samples: int = 256,
    trust: bool = False,
    log: Log = no_log,
) -> Speeds:
    """Measure the students of runs and their teachers on this machine's CPU, each in a process of its own.

    A student is exported, and measured in PyTorch (as a program of ``torch.export``) and in onnxruntime: in float32 and
    in 8-bit numbers. The teacher is measured likewise in float32, where it can be built without training and without
    downloads. Inputs are those of the test split.

    Args:
        paths: Folders of complete runs of one task.
        int8: Whether to measure students in 8-bit numbers, too.
        threads: How many threads compute; by default as many as PyTorch uses here.
        seconds: How long the latency of each is measured.
        calibration_samples: How many training samples decide the ranges of the 8-bit numbers.
        trust: Whether files and recipes may name any ``python:`` code.
        log: Where lines about the progress go.

    Raises:
        UserError: If a run is not complete, its data are gone, it cannot be exported, or a package is missing.
        RunError: If a process that times a network fails.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        optional_package(package, "export", "speed of exported students")
    threads = torch.get_num_threads() if threads is None else threads
    if threads < 1 or not seconds > 0:
        raise UserError(f"speed: got {threads} threads and {seconds} seconds, expected numbers above 0")
    if int8 and calibration_samples < 1:
        raise UserError(f"calibration: got {calibration_samples}, expected a whole number of at least 1")
    subjects = [read_subject(path, trust=trust) for path in paths]
    _check_tasks(subjects)
    options = _Options(threads, seconds, calibration_samples if int8 else 0, log)
    rows: list[Speed] = []
    notes = [_how(threads)]
    teachers: dict[str, dict[str, Speed]] = {}
    for subject in subjects:
        own = list(_student_rows(subject, options))
        rows += own
        notes += _teacher_rows(subject, options, teachers, rows, own)
    return Speeds(tuple(rows), subjects[0].student.task.primary, (*notes, *_disturbed(rows, threads)))


def _how(threads: int) -> str:
    latency = "latency of one sample (median, and what 95 of 100 stay below)"
    others = "throughput at the best batch size, memory of the whole process with its library"
    return f"{threads} thread{'s' if threads > 1 else ''} of this machine's CPU; {latency}, {others}"


def _disturbed(rows: Sequence[Speed], threads: int) -> list[str]:
    """Return a line where other programs used the processors meanwhile."""
    share = min(row.timing.busy for row in rows) / min(threads, os.cpu_count() or 1)
    if share >= _UNDISTURBED:
        return []
    got = f"other programs ran meanwhile: a network had the processors for as little as {share:.0%} of the time"
    return [f"{got}; these times are too long, repeat them on an idle machine"]


@dataclass(frozen=True)
class _Options:
    threads: int
    seconds: float
    calibration: int
    log: Log

    @property
    def timing(self) -> dict[str, Any]:
        """The arguments of both kinds of timing."""
        return {"threads": self.threads, "seconds": self.seconds}


def _check_tasks(subjects: Sequence[Subject]) -> None:
    tasks = {subject.student.task.name: subject for subject in subjects}
    if len(tasks) > 1:
        got = ", ".join(f"{name} ({subject.name})" for name, subject in tasks.items())
        raise UserError(f"speed: got runs of several tasks, {got}; expected one task")
    for subject in subjects:
        _ = subject.data


def _student_rows(subject: Subject, options: _Options) -> Iterator[Speed]:
    student = subject.student
    inputs = subject.batch("test", max(BATCHES)).inputs
    plan = plan_of(student, inputs)
    common = _common(subject.name, student.name, student.network, subject)
    with TemporaryDirectory() as folder:
        for form, file in _files(subject, plan, Path(folder), options):
            options.log(f"{subject.name}: timing {FORMS[form]}")
            timing = time_file(file, dict(zip(plan.names, plan.given(inputs), strict=True)), **options.timing)
            value = _value(subject, plan, _runner(plan, file))
            yield Speed(form=form, value=value, timing=timing, file=file.stat().st_size, **common)


def _common(name: str, network_name: str, network: nn.Module, subject: Subject) -> dict[str, Any]:
    """Return what all forms of a network have in common."""
    work = multiply_adds(network, subject.batch("test", 1).inputs, subject.student.task)
    counts = {"parameters": parameter_count(network), "multiply_adds": work}
    return {"name": name, "network": network_name, **counts}


def _files(subject: Subject, plan: Plan, folder: Path, options: _Options) -> Iterator[tuple[str, Path]]:
    """Write a student's files, and yield each with its form."""
    about, program = recorded(subject.student, plan), exported_program(plan)
    torch_file, file = folder / "student.pt2", folder / "student.onnx"
    write_program(program, torch_file, about)
    yield "torch", torch_file
    write_onnx(program, plan, file, about)
    inputs = inputs_of(subject)
    check(verify(plan, onnx_runner(file), inputs.batch, SIZES, inputs.about), TOLERANCE)
    yield "onnx", file
    if options.calibration:
        quantized = folder / "student.int8.onnx"
        write_int8(file, quantized, plan.names, map(plan.given, calibration(subject, options.calibration)))
        yield "int8", quantized


def _runner(plan: Plan, file: Path) -> Callable[[Any], Tensor]:
    run = onnx_runner(file) if file.suffix == ".onnx" else program_runner(file)
    return lambda inputs: run(plan.given(inputs))


def _value(subject: Subject, plan: Plan, output: Callable[[Any], Tensor]) -> float:
    return measured(subject, plan, output).values[subject.student.task.primary.name]


def _teacher_rows(
    subject: Subject, options: _Options, known: dict[str, dict[str, Speed]], rows: list[Speed], own: Sequence[Speed]
) -> list[str]:
    """Add the teacher's rows, once for all runs that it taught, and return lines about it."""
    try:
        network = teacher_of(subject)
        key = content_digest(*network.state_dict().values())
        if key not in known:
            known[key] = {row.form: row for row in _teacher_forms(subject, network, options)}
            rows += known[key].values()
    except (UserError, RunError) as error:
        return [f"{subject.name}: its teacher is not measured: {error}"]
    teacher = known[key]
    # Like with like: of 8-bit numbers the teacher has no file.
    pairs = [(row, teacher["torch" if row.form == "torch" else "onnx"]) for row in own]
    return [bought(row, other, subject.student.task.primary) for row, other in pairs]


def _teacher_forms(subject: Subject, network: nn.Module, options: _Options) -> Iterator[Speed]:
    inputs = subject.batch("test", max(BATCHES)).inputs
    teacher = replace(subject.student, network=network, name=str(subject.recipe.teacher.name), temperature=1.0)
    plan = plan_of(teacher, inputs)
    reached = subject.summary.get(f"teacher.test.{subject.student.task.primary.name}")
    common = _common(f"teacher of {subject.name}", teacher.name, network, subject)
    with TemporaryDirectory() as folder:
        for form, file in _files(subject, plan, Path(folder), replace(options, calibration=0)):
            options.log(f"{subject.name}: timing its teacher, {FORMS[form]}")
            timing = time_file(file, dict(zip(plan.names, plan.given(inputs), strict=True)), **options.timing)
            yield Speed(form=form, value=reached, timing=timing, file=file.stat().st_size, **common)


def bought(student: Speed, teacher: Speed, metric: Metric) -> str:
    """Write what a student has over its teacher.

    Args:
        student: A form of the student.
        teacher: A form of the teacher, in the same library.
        metric: What their values are.

    Example:
        >>> slow, fast = Timing(0.02, 0.03, 10**8, 50.0, 8), Timing(0.001, 0.002, 10**8, 900.0, 8)
        >>> teacher = Speed("teacher of kd", "resnet50", "onnx", 0.9, slow, 4 * 10**6, 10**6, 10**9)
        >>> student = Speed("kd", "resnet8", "int8", 0.88, fast, 10**5, 10**5, 10**8)
        >>> bought(student, teacher, Metric("accuracy", "accuracy"))
        'kd, ONNX int8: 20 times as fast as the teacher (ONNX float32), file 40 times smaller, accuracy 88.00 % (...'
    """
    faster = teacher.timing.latency / student.timing.latency
    times = f"{faster:.3g} times as fast as the teacher ({FORMS[teacher.form]})"
    smaller = f"file {teacher.file / student.file:.3g} times smaller"
    reached = ""
    if student.value is not None and teacher.value is not None:
        reached = f", {metric.title} {metric.text(student.value)} ({metric.text(teacher.value)})"
    return f"{student.name}, {FORMS[student.form]}: {times}, {smaller}{reached}"


def _cells(row: Speed, metric: Metric) -> dict[str, str]:
    timing = row.timing
    return {
        "student or teacher": row.name,
        "network": row.network,
        "form": FORMS[row.form],
        f"test {metric.heading}": "" if row.value is None else metric.text(row.value).removesuffix(" %"),
        "latency (ms)": f"{1000 * timing.latency:.3g}",
        "p95 (ms)": f"{1000 * timing.latency_p95:.3g}",
        "samples/s (batch)": f"{timing.throughput:,.0f} ({timing.batch})",
        "memory": size(timing.memory),
        "file": size(row.file),
        "parameters": f"{row.parameters:,}",
        "multiply-adds (M)": f"{row.multiply_adds / 1e6:.3g}",
    }
