"""Rows of a teacher that is right about some of them, and students without it, for the tests of measured weights."""

import torch
from torch import nn

import limbeck
from limbeck.selection import calibrated_probabilities

N = 120


def linear(seed, scale=1.0):
    torch.manual_seed(seed)
    network = nn.Linear(6, 4)
    with torch.no_grad():
        network.weight.mul_(scale)
    return network


PROXIES = (linear(5, 2), linear(6, 2))


def weighed(method="weigh+kd", teacher=None, **settings):
    return limbeck.Distiller(linear(1), teacher or linear(2, 3), limbeck.methods.create(method, **settings))


def measured(data, half, method="weigh+kd", **settings):
    distiller = weighed(method, **settings)
    batches = zip(*(part.split(50) for part in data), strict=True)
    return distiller, distiller.measure_teacher(batches, proxies=PROXIES, half=half)


def explained(data, half):
    """The probability of each label under the teacher and the proxy without it, by hand."""
    proxies = [proxy(data[0]).detach() for proxy in PROXIES]
    outside = torch.where(half[:, None], proxies[1], proxies[0])
    return (calibrated_probabilities(logits, data[1], half) for logits in (linear(2, 3)(data[0]).detach(), outside))


def outside(data, half):
    proxies = [proxy(data[0]).detach() for proxy in PROXIES]
    return torch.where(half[:, None], proxies[1], proxies[0])
