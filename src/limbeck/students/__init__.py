"""Trained students: a file with its network, its classes and the preparation of its inputs, and predictions by it."""

from limbeck.students.loading import load
from limbeck.students.outputs import Boxes, Maps
from limbeck.students.predicting import Predictions, predict
from limbeck.students.student import Student

__all__ = ["Boxes", "Maps", "Predictions", "Student", "load", "predict"]
