"""Losses between a student's and a teacher's features: pure functions, and modules for pairs of layers.

Every module is made as ``XLoss(student_shapes, teacher_shapes, *, num_samples=None, ...)`` and called as
``loss(student_features, teacher_features, labels, weight, indices)``, whether it needs the last three or not.
"""

from limbeck.losses.features.at import ATLoss, at_loss
from limbeck.losses.features.base import FeatureLoss, PairLoss, RowInfo
from limbeck.losses.features.crd import CRDLoss, contrastive_loss
from limbeck.losses.features.fitnet import FitNetLoss, mimic_loss
from limbeck.losses.features.pkt import PKTLoss, pkt_loss
from limbeck.losses.features.reviewkd import ReviewKDLoss, hierarchical_context_loss
from limbeck.losses.features.rkd import RKDLoss, rkd_angle_loss, rkd_distance_loss, rkd_loss
from limbeck.losses.features.sp import SPLoss, sp_loss
from limbeck.losses.features.vid import VIDLoss

__all__ = [
    "ATLoss",
    "CRDLoss",
    "FeatureLoss",
    "FitNetLoss",
    "PKTLoss",
    "PairLoss",
    "RKDLoss",
    "ReviewKDLoss",
    "RowInfo",
    "SPLoss",
    "VIDLoss",
    "at_loss",
    "contrastive_loss",
    "hierarchical_context_loss",
    "mimic_loss",
    "pkt_loss",
    "rkd_angle_loss",
    "rkd_distance_loss",
    "rkd_loss",
    "sp_loss",
]
