"""A student of its file."""

from pathlib import Path
from typing import Any

import torch

from limbeck import tasks
from limbeck.errors import UserError, shortened
from limbeck.students.networks import check_code, load_network
from limbeck.students.preparation import former_kind, preparation_of
from limbeck.students.record import ComputingRecord, Record, TaskRecord, read_record, student_file
from limbeck.students.student import Student
from limbeck.tasks import Task


def load(path: str | Path, *, task: str | None = None, trust: bool = False) -> Student:
    """Load a trained student with its classes and the preparation of its inputs; nothing is downloaded.

    Args:
        path: ``student.safetensors``, or the folder of the run that wrote it.
        task: The task, for files of earlier versions, which do not record it.
        trust: Whether a file may name any ``python:`` code, see :func:`limbeck.students.networks.check_code`. Nothing
            else in a file is ever run.

    Returns:
        The student, on the CPU.

    Raises:
        UserError: If the file is missing, damaged, none of limbeck's, or names code or a network that is not there.

    Example:
        >>> import limbeck, tempfile
        >>> recipe = {"data": {"name": "iris"}, "student": "mlp", "method": "none", "training": {"epochs": 1}}
        >>> done = limbeck.run(recipe, out=tempfile.mkdtemp())
        >>> student = load(done.folder)
        >>> row = {name: 1.0 for name in student.about["numeric"]}
        >>> student.classes, student.predict([row]).shape
        (('setosa', 'versicolor', 'virginica'), torch.Size([1, 3]))
    """
    file = student_file(path)
    record, about = read_record(file)
    record = record.model_copy(update={"task": _task_record(file, record, task)})
    check_code(file, record, trust=trust)
    made_task = _task(file, record)
    network = load_network(file, record, about)
    computing = record.computing or ComputingRecord()
    if computing.channels_last:
        network = network.to(memory_format=torch.channels_last)
    kind = record.kind if record.computing is not None else former_kind(about, made_task.name)
    where = f"{shortened(str(file), 200, quoted=False)}: its metadata"
    return Student(
        file,
        record.name,
        network,
        record.classes,
        made_task,
        temperature=record.temperature,
        preparation=preparation_of(kind, about, where, channels_last=computing.channels_last),
        computing=computing,
        about=about,
        notes=tuple(_notes(record, kind, about)),
    )


def _task_record(file: Path, record: Record, given: str | None) -> TaskRecord:
    if record.task is None:
        if given is not None:
            return TaskRecord(name=given)
        got = f"{shortened(str(file), 200, quoted=False)}: does not record its task, as files of earlier versions"
        raise UserError(f"{got}; expected it beside, such as task='classification' (on the command line --task)")
    if given is not None and given != record.task.name:
        raise UserError(f"task: got {shortened(given)}, but the student was trained for {record.task.name!r}")
    return record.task


def _task(file: Path, record: Record) -> Task:
    assert record.task is not None
    try:
        task = tasks.create(record.task.name, record.num_classes, **record.task.options)
    except UserError as error:
        raise UserError(f"{shortened(str(file), 200, quoted=False)}: its task: {error}") from None
    task.class_names = record.classes
    return task


def _notes(record: Record, kind: str | None, about: dict[str, Any]) -> list[str]:
    if record.computing is not None:
        return []
    notes = ["written by an earlier version: predictions are computed in float32, whatever the run was measured in"]
    if kind == "images" and "reduced" not in about:
        notes.append("written by an earlier version: large JPEGs are decoded whole, which can change their last bits")
    return notes
