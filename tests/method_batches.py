"""A tiny distiller and batch for any registered method, for tests that run them all."""

import torch
from torch import nn

import limbeck
from limbeck.methods import create
from limbeck.teachers import LightweightBank, LightweightTeacher

CLASSES, SAMPLES, SIZE = 4, 40, 8
# Which samples the first of two proxies was trained on.
HALF = torch.arange(SAMPLES) % 2 == 0
# What some methods need beside their name, and shorter memories than the published ones.
SETTINGS = {"crd": {"negatives": 8, "dim": 6}, "reviewkd": {"warmup": 3}, "dkd": {"warmup": 3}, "rld": {"warmup": 3}}


def linear_network(seed):
    """As little as gives logits, for methods that compare nothing else: it is compiled in no time."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, CLASSES))


def staged_network(seed, width):
    """Two stages and a linear layer, with batch norm and without dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, CLASSES),
    )


def whole_set():
    """Inputs, labels and positions of a training set of ``SAMPLES``."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, 1, SIZE, SIZE, generator=generator)
    return inputs, torch.randint(CLASSES, (SAMPLES,), generator=generator), torch.arange(SAMPLES)


def batch(seed=0, rows=12):
    """Some of them, in an order of their own."""
    chosen = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(seed))[:rows]
    return tuple(part[chosen] for part in whole_set())


def lightweight():
    generator = torch.Generator().manual_seed(0)
    return LightweightTeacher(LightweightBank(torch.randn(CLASSES, 5, CLASSES, generator=generator), accuracy=1.0))


def networks_for(method):
    staged = any(term.features for term in method.terms)
    student, teacher = (
        staged_network(seed, width) if staged else linear_network(seed) for seed, width in ((0, 4), (1, 6))
    )
    if method.teacher in (None, "virtual"):
        return student, None
    return student, lightweight() if method.teacher == "lightweight" else teacher


def distiller_for(name, **settings):
    """Make a distiller for a method, or a composition, by name."""
    method = create(name, **{**SETTINGS.get(name, {}), **settings})
    made = limbeck.Distiller(
        *networks_for(method),
        method,
        num_classes=CLASSES,
        epochs=4,
        example=torch.zeros(2, 1, SIZE, SIZE),
        num_samples=SAMPLES,
    )
    if made.teacher_scale.needs_measuring:
        made.measure_teacher([whole_set()], proxies=(linear_network(3), linear_network(4)), half=HALF)
    if method.selection is not None and method.selection.needs_training_set:
        made.select([whole_set()])
    return made
