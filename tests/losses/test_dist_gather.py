"""DIST over the rows of several processes equals DIST in one process with all rows."""

import pytest
import torch
from torch import distributed as dist

from limbeck import losses
from limbeck.losses._correlation import correlation_distance
from limbeck.testing import Processes

ROWS, INPUTS = 24, 6
# Rows of each process, by the number of processes; the second kind is an epoch's last batch.
SPLITS = {
    "even": {1: [24], 2: [12, 12], 3: [8, 8, 8]},
    "uneven": {1: [24], 2: [17, 7], 3: [11, 12, 1]},
    "one is empty": {1: [24], 2: [24, 0], 3: [20, 0, 4]},
}
WEIGHTS = ("all", "real", "mask", "only the first rows", "none")
# The second bound holds for about half of the rows and columns.
CASES = [
    (split, kind, classes, spread) for split in SPLITS for kind in WEIGHTS for classes, spread in ((5, 0.0), (40, 0.6))
]
# Single precision rounds a sum over 24 rows in another order to other last digits.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-6}


def batch(kind, classes, dtype):
    """Return inputs, the teacher's logits and weights of the global batch, the same everywhere."""
    generator = torch.Generator().manual_seed(classes)
    inputs = torch.randn(ROWS, INPUTS, generator=generator)
    teacher = 2 * torch.randn(ROWS, classes, generator=generator)
    weight = {
        "all": None,
        "real": torch.rand(ROWS, generator=generator),
        "mask": torch.rand(ROWS, generator=generator) < 0.5,
        "only the first rows": torch.arange(ROWS) < 6,
        "none": torch.zeros(ROWS),
    }[kind]
    return inputs.to(dtype), teacher.to(dtype), weight


def closed(student, teacher, weight, spread):
    settings = {"temperature": 2.0, "beta": 2.0, "gamma": 0.5, "gather": True, "min_spread": spread}
    return losses.dist_loss(student, teacher, **settings, weight=weight)


def formula(student, teacher, weight, spread):
    return correlation_distance(student, teacher, 2.0, True, weight, (8.0, 2.0), spread)


def value_and_gradients(loss, case, dtype, rank=0, world=1):
    """Return the loss, the gradient of all rows' logits and, averaged over processes, those of a layer's parameters."""
    split, kind, classes, spread = case
    sizes = SPLITS[split][world]
    mine = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    inputs, teacher, weight = batch(kind, classes, dtype)
    torch.manual_seed(0)
    model = torch.nn.Linear(INPUTS, classes, dtype=dtype)
    logits = model(inputs[mine])
    logits.retain_grad()
    value = loss(logits, teacher[mine], None if weight is None else weight[mine], spread)
    value.backward()
    of_logits = torch.zeros(ROWS, classes, dtype=dtype)
    of_logits[mine] = logits.grad
    gradients = [of_logits, *(parameter.grad for parameter in model.parameters())]
    for gradient in gradients if dist.is_initialized() else ():
        # What DistributedDataParallel does.
        dist.all_reduce(gradient)
        gradient /= world
    return [value.detach(), *gradients]


def of_all_cases(rank, world):
    return {
        (loss.__name__, dtype, case): value_and_gradients(loss, case, dtype, rank, world)
        for loss in (closed, formula)
        for dtype in TOLERANCES
        for case in CASES
    }


def of_three():
    with Processes(3) as processes:
        return processes.run(of_all_cases)


@pytest.fixture(scope="module", params=[1, 2, pytest.param(3, marks=pytest.mark.slow)])
def results(request, pair):
    """Every case's value and averaged gradients in each process, for a number of processes."""
    return {1: lambda: [of_all_cases(0, 1)], 2: lambda: pair.run(of_all_cases), 3: of_three}[request.param]()


def apart(one, other):
    """Return the largest difference, relative to the largest entry where that is above 1."""
    return ((one - other).abs().max() / other.abs().max().clamp_min(1)).item()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_any_number_of_processes_gives_the_same(results, case, dtype):
    alone = value_and_gradients(closed, case, dtype)
    for table in results:
        for name in ("closed", "formula"):
            found = table[name, dtype, case]
            assert max(apart(one, other) for one, other in zip(found, alone, strict=True)) < TOLERANCES[dtype]


def test_every_process_has_the_same_value_to_the_last_bit(results):
    for key, found in results[0].items():
        for other in results[1:]:
            assert found[0].item() == other[key][0].item()
