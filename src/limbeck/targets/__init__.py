"""Targets: pure corrections of the teacher logits in front of any loss; tensors of the teacher are not written to."""

from limbeck.targets.rectify import rectify_logits
from limbeck.targets.revise import revise_labels, revise_logits
from limbeck.targets.semantic import SemanticTarget, check_prior, semantic_smoothing
from limbeck.targets.tame import MaxConfidence, Taming, mean_confidence, tame_logits, taming_temperature
from limbeck.targets.truncate import truncate_logits
from limbeck.targets.virtual import virtual_logits, virtual_probabilities

__all__ = [
    "MaxConfidence",
    "SemanticTarget",
    "Taming",
    "check_prior",
    "mean_confidence",
    "rectify_logits",
    "revise_labels",
    "revise_logits",
    "semantic_smoothing",
    "tame_logits",
    "taming_temperature",
    "truncate_logits",
    "virtual_logits",
    "virtual_probabilities",
]
