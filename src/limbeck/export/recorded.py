"""What an exported file records about its student."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from limbeck.export.deployed import Plan
from limbeck.students.student import Student

# Of the preparation; a tokenizer lies in a file of its own.
_PREPARATION = (
    *("kind", "mean", "std", "input_shape", "reduced", "numeric", "scale", "categories"),
    *("text", "pair", "padding", "padding_index", "max_length"),
)


def recorded(student: Student, plan: Plan) -> dict[str, Any]:
    """Return what a file records, as plain values: classes, task, preparation, temperature and what is inside of it.

    Args:
        student: The student.
        plan: What is exported.

    Example:
        >>> import torch
        >>> from pathlib import Path
        >>> from limbeck.export.deployed import plan_of
        >>> from limbeck.tasks import Classification
        >>> network = torch.nn.Linear(4, 2)
        >>> student = Student(Path("student.safetensors"), "linear", network, ("no", "yes"), Classification(2))
        >>> recorded(student, plan_of(student, torch.zeros(2, 4)))["classes"]
        ['no', 'yes']
    """
    # Probabilities have the temperature in them already.
    left = 1.0 if plan.result == "probabilities" else student.temperature
    return {
        "limbeck": version("limbeck"),
        "network": student.name,
        "task": student.task.name,
        "classes": list(student.classes),
        "result": plan.result,
        "temperature": student.temperature,
        "temperature_to_apply": left,
        "preparation": {key: student.about[key] for key in _PREPARATION if key in student.about},
        "preparation_inside": plan.inside,
        "precision_of_the_run": student.computing.precision,
    }


def tokenizer_text(about: Mapping[str, Any]) -> str | None:
    """Return the content of ``tokenizer.json`` of a student of texts; None for others.

    Example:
        >>> tokenizer_text({"mean": [0.5]}) is None
        True
    """
    tokenizer = about.get("tokenizer")
    return json.dumps(tokenizer, ensure_ascii=False, indent=2) + "\n" if isinstance(tokenizer, Mapping) else None
