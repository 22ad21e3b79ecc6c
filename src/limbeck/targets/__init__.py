"""Targets: pure corrections of what the teacher says, before any loss hears it; teacher tensors are not written to."""

from limbeck.targets.rectify import rectify_logits
from limbeck.targets.revise import revise_labels, revise_logits
from limbeck.targets.virtual import virtual_logits, virtual_probabilities

__all__ = ["rectify_logits", "revise_labels", "revise_logits", "virtual_logits", "virtual_probabilities"]
