"""Losses between a student's and a teacher's rows of logits: pure functions, and module twins that call them.

Every loss takes float (N, C) logits, computes in fp32 and gives the teacher no gradient. Every module twin is called as
``loss(student_logits, teacher_logits, labels, weight)``, whether it needs the last two or not.
"""

from limbeck.losses.adversarial import AdversarialLoss, Discriminator
from limbeck.losses.cmkd import CMKDLoss, CMKDParts, cmkd_loss, cmkd_parts
from limbeck.losses.dist import DISTLoss, DistParts, dist_loss, dist_parts
from limbeck.losses.divergences import JSDLoss, LogitMSELoss, ReverseKLLoss, jsd_loss, logit_mse_loss, reverse_kl_loss
from limbeck.losses.dkd import DKDLoss, dkd_loss
from limbeck.losses.kd import KDLoss, kd_loss
from limbeck.losses.label_revision import LabelRevisionLoss, label_revision_loss
from limbeck.losses.nkd import NKDLoss, nkd_loss
from limbeck.losses.rld import RLDLoss, rld_loss
from limbeck.losses.spread import MIN_SPREAD
from limbeck.losses.standardize import standardize_logits
from limbeck.losses.ttm import TTMLoss, WTTMLoss, ttm_loss, wttm_loss

__all__ = [
    "MIN_SPREAD",
    "AdversarialLoss",
    "CMKDLoss",
    "CMKDParts",
    "DISTLoss",
    "DKDLoss",
    "Discriminator",
    "DistParts",
    "JSDLoss",
    "KDLoss",
    "LabelRevisionLoss",
    "LogitMSELoss",
    "NKDLoss",
    "RLDLoss",
    "ReverseKLLoss",
    "TTMLoss",
    "WTTMLoss",
    "cmkd_loss",
    "cmkd_parts",
    "dist_loss",
    "dist_parts",
    "dkd_loss",
    "jsd_loss",
    "kd_loss",
    "label_revision_loss",
    "logit_mse_loss",
    "nkd_loss",
    "reverse_kl_loss",
    "rld_loss",
    "standardize_logits",
    "ttm_loss",
    "wttm_loss",
]
