"""Models by name: the CIFAR zoo of the knowledge-distillation benchmark, timm, torchvision and your own functions."""

from limbeck.models.factory import create, names, register
from limbeck.models.features import FeatureExtractor, feature_layers, stage_layers
from limbeck.models.freezing import freeze, hold_frozen_norms
from limbeck.models.heads import head
from limbeck.models.weights import load_body, load_weights

__all__ = [
    "FeatureExtractor",
    "create",
    "feature_layers",
    "freeze",
    "head",
    "hold_frozen_norms",
    "load_body",
    "load_weights",
    "names",
    "register",
    "stage_layers",
]
