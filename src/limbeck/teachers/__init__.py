"""Sources of teacher output: live networks, ensembles, a lightweight teacher's bank, a virtual teacher.

A self-teacher (DR-KD, Tf-KD) is a live network too: a trained copy of the student.
"""

from limbeck.teachers.base import LabelTeacher, Teacher
from limbeck.teachers.columns import ClassColumns
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.estimator import EstimatorTeacher
from limbeck.teachers.lightweight import LightweightBank, LightweightTeacher, train_lightweight
from limbeck.teachers.live import InputAdapter, LiveTeacher
from limbeck.teachers.virtual import VirtualTeacher

__all__ = [
    "ClassColumns",
    "EnsembleTeacher",
    "EstimatorTeacher",
    "InputAdapter",
    "LabelTeacher",
    "LightweightBank",
    "LightweightTeacher",
    "LiveTeacher",
    "Teacher",
    "VirtualTeacher",
    "train_lightweight",
]
