"""A ``Distiller`` in two processes of DistributedDataParallel trains as one process with the whole batch does."""

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from limbeck.losses.features import CRDLoss
from limbeck.rows import ABSENT
from method_batches import SAMPLES, batch, distiller_for

STEPS = 4
# Processes have 6 and 5 of the rows of a step.
ROWS = 11
METHODS = ("kd", "dist", "dr_kd", "dts", "ctkd", "lw_kd", "crd", "lr_ds", "select+dist", "fitnet", "kd@partly")
# Scores within a batch, which are those of the rows of all processes then.
SETTINGS = {"select+dist": {"select": {"scorer": "agreement", "ratio": 0.6}}}


def drawn(loss, indices):
    """Negatives that depend on the image alone, in place of draws that differ between processes."""
    others = 1 + 3 * torch.arange(loss.negatives)
    return (indices[:, None] + others) % SAMPLES


def made(name):
    return distiller_for(name.partition("@")[0], **SETTINGS.get(name, {}))


def trained(name, rank=0, world=1):
    """Train on this process's rows of each batch, and return losses, and gradients and state at the end."""
    CRDLoss.draw = drawn
    # Memories begin at random: elsewhere at other numbers.
    torch.manual_seed(100 + rank)
    distiller = made(name).double()
    # A batch norm would see this process's rows only.
    distiller.student.eval()
    module = DistributedDataParallel(distiller) if world > 1 else distiller
    optimizer, losses = torch.optim.SGD(distiller.parameters(), lr=0.05), []
    for step in range(STEPS):
        inputs, labels, indices = (part[rank::world] for part in batch(step, ROWS))
        if name.endswith("@partly"):
            labels = labels.masked_fill(indices % 3 == 0, ABSENT)
        optimizer.zero_grad()
        out = module(inputs.double(), labels, indices, step)
        out.loss.backward()
        optimizer.step()
        losses.append(out.loss.detach())
    gradients = {name: parameter.grad for name, parameter in distiller.named_parameters()}
    return torch.stack(losses), gradients, dict(distiller.state_dict())


def of_all_methods(rank, world):
    return {name: trained(name, rank, world) for name in METHODS}


@pytest.fixture(scope="module")
def results(pair):
    return pair.run(of_all_methods)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_equal_one(results, name, monkeypatch):
    monkeypatch.setattr(CRDLoss, "draw", CRDLoss.draw)
    losses, gradients, state = trained(name)
    mean = torch.stack([found[name][0] for found in results]).mean(0)
    # The logits of a lightweight teacher stay in fp32.
    close = {"rtol": 1e-5, "atol": 1e-7} if name == "lw_kd" else {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(mean, losses, **close)
    for found in results:
        torch.testing.assert_close(found[name][1], gradients, **close)
        torch.testing.assert_close(found[name][2], state, **close)


def test_every_process_remembers_every_image(results):
    own, other = (found["crd"][2] for found in results)
    banks = [name for name in own if name.endswith(("_bank", "classes", "constants", "known"))]
    assert len(banks) == 5
    assert all(torch.equal(own[name], other[name]) for name in banks)
    seen = torch.cat([batch(step, ROWS)[2] for step in range(STEPS)]).unique()
    classes = own[next(name for name in banks if name.endswith("classes"))]
    assert torch.equal(classes.ge(0).nonzero()[:, 0], seen)


def test_memories_are_not_broadcast_at_every_step():
    ignored = distiller_for("crd")._ddp_params_and_buffers_to_ignore
    assert len(ignored) == 5
    assert set(ignored) <= {name for name, _ in distiller_for("crd").named_buffers()}
    assert distiller_for("kd")._ddp_params_and_buffers_to_ignore == []
