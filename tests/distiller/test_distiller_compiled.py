"""A compiled ``Distiller`` trains as an eager one does: losses, gradients and what moves with the epochs."""

import copy
import shutil

import pytest
import torch

from limbeck import methods
from method_batches import batch, distiller_for


def moves(distiller):
    following = any(modifier.follows_epochs for modifier in distiller.modifiers)
    return following or any(term.warmup for term in distiller.method.terms)


def steps_apart(distiller, backend):
    """Train a compiled copy and the distiller itself for three steps, an epoch each where that matters."""
    twin = copy.deepcopy(distiller.double())
    compiled = torch.compile(twin, backend=backend)
    pair = [(distiller, distiller), (twin, compiled)]
    optimizers = [torch.optim.SGD(one.parameters(), lr=0.05) for one, _ in pair]
    for step in range(3):
        outs, epoch = [], step if moves(distiller) else 0
        for (one, called), optimizer in zip(pair, optimizers, strict=True):
            torch.manual_seed(step)
            inputs, labels, indices = batch(step)
            out = called(inputs.double(), labels, indices, epoch)
            optimizer.zero_grad()
            out.loss.backward()
            outs.append((out.parts, {name: p.grad.clone() for name, p in one.named_parameters()}))
            optimizer.step()
        torch.testing.assert_close(outs[1], outs[0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(dict(twin.state_dict()), dict(distiller.state_dict()), rtol=1e-6, atol=1e-9)


NAMES = [*methods.names(), "select+kd", "kd+adversarial", "rectify+top_k+dist", "tame+lr"]
# One of each kind in make test; make test-slow has all.
KINDS = ("kd", "dist", "dr_kd", "lr_ds", "lw_kd", "crd", "ctkd", "fitnet", "select+kd", "kd+adversarial")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in KINDS else pytest.mark.slow) for name in NAMES]
)
def test_a_compiled_distiller_has_the_eager_ones_gradients(name):
    settings = {"scorer": "confidence"} if name == "select+kd" else {}
    steps_apart(distiller_for(name, **settings), "aot_eager")


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_so_has_one_compiled_to_machine_code():
    steps_apart(distiller_for("dts"), "inductor")
