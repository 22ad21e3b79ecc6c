"""The global generators: seeded by a run, and restored after it."""

import random

import numpy as np
import torch

import limbeck
from limbeck.randomness.seeding import generators_kept, seed_everything


def draws():
    return random.random(), np.random.rand(), float(torch.rand(1))


def expected():
    seed_everything(7)
    drawn = draws()
    seed_everything(7)
    return drawn


def test_the_generators_are_kept_also_after_an_error():
    wanted = expected()
    try:
        with generators_kept():
            seed_everything(1)
            raise ValueError
    except ValueError:
        pass
    assert draws() == wanted


def test_a_run_leaves_the_callers_generators_as_they_were(tiny, tmp_path):
    wanted = expected()
    limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "run")
    assert draws() == wanted
    wanted = expected()
    limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "run", resume=True)
    assert draws() == wanted
