"""limbeck: knowledge distillation for PyTorch, for strong, unreliable, tiny and absent teachers.

Three lines in a training loop of your own:

    >>> import torch, limbeck
    >>> student, teacher = torch.nn.Linear(8, 3), torch.nn.Linear(8, 3)
    >>> distiller = limbeck.Distiller(student, teacher, method="dist")
    >>> out = distiller(torch.randn(16, 8), torch.randint(3, (16,)))
    >>> out.loss.backward()

or everything from a recipe: ``limbeck.run("recipe.yaml")``, which is what the ``limbeck`` command calls.
"""

import logging
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limbeck import (
        advice,
        cache,
        data,
        errors,
        export,
        losses,
        methods,
        models,
        modifiers,
        report,
        rows,
        runs,
        selection,
        students,
        targets,
        tasks,
        teachers,
        testing,
        training,
    )
    from limbeck.advice.advise import Advised, advise
    from limbeck.distiller import Distiller, Output
    from limbeck.errors import RunError, UserError
    from limbeck.randomness.seeding import seed_everything
    from limbeck.report.evaluation import Evaluation
    from limbeck.runs.check import Checked, check
    from limbeck.runs.compare import Comparison, compare
    from limbeck.runs.evaluate import evaluate
    from limbeck.runs.replay import Replayed, replay
    from limbeck.runs.run import run
    from limbeck.runs.search.searching import Searched, search
    from limbeck.runs.session import Run
    from limbeck.students.loading import load
    from limbeck.students.predicting import Predictions, predict
    from limbeck.students.student import Student

__version__ = version("limbeck")
# The application decides where log records go; the command line prints them.
logging.getLogger(__name__).addHandler(logging.NullHandler())
__all__ = [
    "Advised",
    "Checked",
    "Comparison",
    "Distiller",
    "Evaluation",
    "Output",
    "Predictions",
    "Replayed",
    "Run",
    "RunError",
    "Searched",
    "Student",
    "UserError",
    "advice",
    "advise",
    "cache",
    "check",
    "compare",
    "data",
    "errors",
    "evaluate",
    "export",
    "load",
    "losses",
    "methods",
    "models",
    "modifiers",
    "predict",
    "replay",
    "report",
    "rows",
    "run",
    "runs",
    "search",
    "seed_everything",
    "selection",
    "students",
    "targets",
    "tasks",
    "teachers",
    "testing",
    "training",
]

# Imported at the first use: a command such as `limbeck --help` should not wait for torch.
_HOMES = {
    "Advised": "advice.advise",
    "Checked": "runs.check",
    "Comparison": "runs.compare",
    "Distiller": "distiller",
    "Evaluation": "report.evaluation",
    "Output": "distiller",
    "Predictions": "students.predicting",
    "Replayed": "runs.replay",
    "Run": "runs.session",
    "RunError": "errors",
    "Student": "students.student",
    "Searched": "runs.search.searching",
    "UserError": "errors",
    "advise": "advice.advise",
    "check": "runs.check",
    "compare": "runs.compare",
    "evaluate": "runs.evaluate",
    "load": "students.loading",
    "predict": "students.predicting",
    "replay": "runs.replay",
    "run": "runs.run",
    "search": "runs.search.searching",
    "seed_everything": "randomness.seeding",
}
_PACKAGES = frozenset(__all__) - _HOMES.keys()


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"limbeck.{name}")
    if name in _HOMES:
        return getattr(import_module(f"limbeck.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'limbeck' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
