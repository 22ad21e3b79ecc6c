"""Distillers of two small networks that compare features."""

import torch

import limbeck

METHODS = ["fitnet", "at", "sp", "rkd", "pkt", "vid", "crd", "reviewkd"]
SAMPLES = 50


def net(seed=0, width=0.5, name="resnet8"):
    torch.manual_seed(seed)
    return limbeck.models.create(name, num_classes=4, width=width)


def made(method, student=None, teacher=None, **more):
    student, teacher = student or net(), teacher or net(1, 1.0)
    torch.manual_seed(5)
    return limbeck.Distiller(
        student, teacher, method, **{"example": torch.zeros(2, 3, 16, 16), "num_samples": SAMPLES, **more}
    )
