"""Files of ``torch.export`` and of ONNX."""

import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from limbeck.errors import UserError, first_line, shortened
from limbeck.export.deployed import Plan
from limbeck.imports import optional_package

ABOUT = "limbeck.json"
"""The entry of a ``.pt2`` file that holds what is recorded about the student."""
_COLORS = re.compile(r"\x1b\[\d*m")
_FIXED = re.compile(r"Constraints violated \((.+?)\)!")
_OPERATOR = re.compile(r"op='([\w.]+::\w+|[\w.]+)'|(?<![\w.])((?:aten|torchvision|prims)[.:]+\w+)")


def exported_program(plan: Plan) -> torch.export.ExportedProgram:
    """Record a network's operators by ``torch.export``, for batches of any size.

    Args:
        plan: The network, and an example of what it is given.

    Raises:
        UserError: If that is not possible, such as where a network decides by its inputs' values.

    Example:
        >>> from torch import nn
        >>> from limbeck.students import Student
        >>> from limbeck.export.deployed import plan_of
        >>> from limbeck.tasks import Classification
        >>> student = Student(Path("student.safetensors"), "linear", nn.Linear(4, 2), ("no", "yes"), Classification(2))
        >>> program = exported_program(plan_of(student, torch.zeros(2, 4)))
        >>> program.module()(torch.zeros(7, 4)).shape
        torch.Size([7, 2])
    """
    # One object a name: two inputs have the same batch.
    names = {name for axes in plan.axes for name in axes.values()}
    dims = {name: torch.export.Dim(name, max=plan.limits.get(name)) for name in names}
    shapes = tuple({axis: dims[name] for axis, name in axes.items()} for axes in plan.axes)
    with _quiet(), torch.no_grad():
        try:
            return torch.export.export(plan.module, plan.example, dynamic_shapes=(shapes,), strict=False)
        except Exception as error:  # torch raises many kinds, some of them its internal ones
            raise _refused("torch.export cannot record the network", error) from None


def write_program(program: torch.export.ExportedProgram, path: Path, about: Mapping[str, Any]) -> None:
    """Write a recorded program as a ``.pt2`` file with ``about`` as JSON in it.

    Args:
        program: From :func:`exported_program`.
        path: The file.
        about: Plain values.
    """
    with _quiet():
        torch.export.save(program, path, extra_files={ABOUT: json.dumps(about)})


def write_onnx(program: torch.export.ExportedProgram, plan: Plan, path: Path, about: Mapping[str, Any]) -> None:
    """Write a recorded program as an ONNX file, with ``about`` in its properties, a JSON value each.

    Args:
        program: From :func:`exported_program`.
        plan: Names the inputs and the output.
        path: The file.
        about: Plain values.

    Raises:
        UserError: If a package is missing, or an operator is not in ONNX; the line names it.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        optional_package(package, "export", "export to ONNX")
    names: dict[str, Any] = {"input_names": list(plan.names), "output_names": [plan.result]}
    # A recorded program has its axes already; these are their names in the file.
    names["dynamic_shapes"] = (plan.axes,)
    with _quiet():
        try:
            written = torch.onnx.export(program, dynamo=True, verbose=False, **names)
            assert written is not None
            written.model.metadata_props.update({name: json.dumps(value) for name, value in about.items()})
            # One file, which holds at most 2 GiB.
            written.save(str(path), external_data=False)
        except Exception as error:  # as above
            raise _refused("the network cannot be written as ONNX", error) from None


def _refused(what: str, error: BaseException) -> UserError:
    """Return the error of an exporter as one line, with the operator where one is named."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    text = " ".join(_COLORS.sub("", str(part)) for part in chain)
    found = _OPERATOR.search(text)
    operator = f": the operator {found[1] or found[2]}" if found else ""
    reason = shortened(_reason(_COLORS.sub("", first_line(chain[-1]))), 300, quoted=False)
    return UserError(f"export: {what}{operator} ({reason}); expected a network of other operators, or another --format")


def _reason(line: str) -> str:
    """Return an exporter's line, or what it stands for where it means nothing without those that follow."""
    fixed = _FIXED.match(line)
    return f"of the axis {fixed[1]} it takes one size alone, as recurrent layers do" if fixed else line


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' own lines and warnings from the output; their errors are raised."""
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
