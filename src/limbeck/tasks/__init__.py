"""Tasks: how a network's outputs become rows of logits, what is the ground truth, and what is measured."""

from limbeck.tasks.base import MAIN, Task
from limbeck.tasks.classification import Classification
from limbeck.tasks.detection import Detection
from limbeck.tasks.metrics import Evaluator, Measured, Metric
from limbeck.tasks.multilabel import MultiLabel
from limbeck.tasks.registry import create, names, register
from limbeck.tasks.segmentation import Segmentation

__all__ = [
    "MAIN",
    "Classification",
    "Detection",
    "Evaluator",
    "Measured",
    "Metric",
    "MultiLabel",
    "Segmentation",
    "Task",
    "create",
    "names",
    "register",
]
