"""Data selection: which rows the teacher supervises, and which get ground truth only.

Example:
    >>> import torch
    >>> scores = agreement_scores(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0]))
    >>> choose(scores, 0.5)
    tensor([ True, False])
"""

from limbeck.selection.choose import choose, choose_stratified
from limbeck.selection.class_table import class_table, informed_probabilities
from limbeck.selection.influence import head_influence
from limbeck.selection.reliability import (
    calibrated_probabilities,
    halves,
    nll_temperature,
    responsibilities,
    teacher_share,
)
from limbeck.selection.scores import agreement_scores, confidence_scores, el2n_scores, random_scores
from limbeck.selection.settings import ROW_SCORERS, SCORERS, Selection
from limbeck.selection.shuffle import shuffled
from limbeck.selection.weighing import RELIABLE, Weighing, loss_temperature, row_weights

__all__ = [
    "RELIABLE",
    "ROW_SCORERS",
    "SCORERS",
    "Selection",
    "Weighing",
    "agreement_scores",
    "calibrated_probabilities",
    "choose",
    "choose_stratified",
    "class_table",
    "confidence_scores",
    "el2n_scores",
    "halves",
    "head_influence",
    "informed_probabilities",
    "loss_temperature",
    "nll_temperature",
    "random_scores",
    "responsibilities",
    "row_weights",
    "shuffled",
    "teacher_share",
]
