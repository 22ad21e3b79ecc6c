"""The loss of examples/plugin passes the common checks, as its author would run them."""

from importlib import import_module
from pathlib import Path

import numpy as np
from scipy.special import softmax

from limbeck.testing import check_loss

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"


def in_numpy(student, teacher, labels, weight):
    roots = [np.sqrt(softmax(side / 4, axis=1)) for side in (student, teacher)]
    return 16 * np.average(((roots[0] - roots[1]) ** 2).sum(1) / 2, weights=weight)


def test_the_loss(monkeypatch, device, dtype):
    monkeypatch.syspath_prepend(PLUGIN)
    loss = import_module("limbeck_plugin").hellinger
    check_loss(loss, reference=in_numpy, registered=True, device=device, dtype=dtype)
