"""Losses between a student's and a teacher's rows of logits: pure functions, and module twins that call them.

Every loss takes float (N, C) logits, computes in fp32 and gives the teacher no gradient. Every module twin is called as
``loss(student_logits, teacher_logits, labels, weight)``, whether it needs the last two or not.
"""

from limbeck.losses.adversarial import AdversarialLoss, Discriminator
from limbeck.losses.dist import DISTLoss, DistParts, dist_loss, dist_parts
from limbeck.losses.kd import KDLoss, kd_loss
from limbeck.losses.label_revision import LabelRevisionLoss, label_revision_loss

__all__ = [
    "AdversarialLoss",
    "DISTLoss",
    "Discriminator",
    "DistParts",
    "KDLoss",
    "LabelRevisionLoss",
    "dist_loss",
    "dist_parts",
    "kd_loss",
    "label_revision_loss",
]
