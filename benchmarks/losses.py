"""Time and memory of our losses, forward and backward, as ratios to plain eager formulas and to a peer's losses.

    OMP_NUM_THREADS=1 python benchmarks/losses.py

Time: both sides take turns, so that a machine whose speed drifts treats both alike; medians over the rounds. Before
that a large tensor is freed, after which the C library's allocator keeps freed memory, as in any longer training.
Memory: torch.profiler reports every allocation and release of a tensor on CPU, kernels' temporaries included; the peak
is the highest running sum of one forward and backward, without the logits. Where torchdistill is not installed, its
rows are left out and the title names them.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from limbeck.losses import dist_loss, kd_loss
from limbeck.losses._row_correlation import Bounds, row_distances
from record import record

SHAPES = ((64, 100), (256, 1000), (128, 21841), (65536, 19))
TEMPERATURE, SECONDS, LEAST_ROUNDS = 4.0, 3.0, 9
BOUNDS = Bounds(scale=100.0, variance=1e-3, norm=0.1)
Loss = Callable[[Tensor, Tensor], Tensor]


def ours_dist(student: Tensor, teacher: Tensor) -> Tensor:
    """Return our DIST."""
    return dist_loss(student, teacher, temperature=TEMPERATURE)


def ours_kd(student: Tensor, teacher: Tensor) -> Tensor:
    """Return our KD."""
    return kd_loss(student, teacher, temperature=TEMPERATURE)


def plain_dist(student: Tensor, teacher: Tensor) -> Tensor:
    """Return DIST as its equation reads, differentiated by autograd."""
    one, other = ((logits / TEMPERATURE).softmax(1) for logits in (student, teacher))
    return TEMPERATURE**2 * (_distance(one, other, 1) + _distance(one, other, 0))


def _distance(one: Tensor, other: Tensor, dim: int) -> Tensor:
    one, other = one - one.mean(dim, keepdim=True), other - other.mean(dim, keepdim=True)
    norms = torch.linalg.vector_norm(one, dim=dim) * torch.linalg.vector_norm(other, dim=dim)
    correlations: Tensor = (one * other).sum(dim) / (norms + 1e-8)
    return 1 - correlations.mean()


def plain_kd(student: Tensor, teacher: Tensor) -> Tensor:
    """Return KD by ``kl_div`` on softmaxes."""
    log_student, soft = F.log_softmax(student / TEMPERATURE, 1), F.softmax(teacher / TEMPERATURE, 1)
    divergence: Tensor = F.kl_div(log_student, soft, reduction="batchmean")
    return TEMPERATURE**2 * divergence


def ours_pearson(student: Tensor, teacher: Tensor) -> Tensor:
    """Return our Pearson part of CMKD."""
    return row_distances(student, teacher, TEMPERATURE, BOUNDS).mean()


def plain_pearson(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the Pearson part of CMKD as its equation reads, differentiated by autograd."""
    normal = (F.layer_norm(logits, logits.shape[1:], eps=BOUNDS.variance) for logits in (student, teacher))
    one, other = (BOUNDS.scale * (logits / TEMPERATURE).softmax(1) for logits in normal)
    return _distance(one, other, 1)


def _peer(name: str, scale: float, **settings: Any) -> Loss:
    from torchdistill.losses import mid_level

    where = {f"{who}_module_{what}": "x" for who in ("student", "teacher") for what in ("path", "io")}
    loss = getattr(mid_level, name)(**where, **settings)
    return lambda student, teacher: scale * loss({"x": {"x": student}}, {"x": {"x": teacher}}, None)


def pairs() -> Iterator[tuple[str, Loss, str, Loss]]:
    """Yield what is compared: name, ours, the other's name, the other."""
    yield "dist_loss", ours_dist, "plain eager", plain_dist
    yield "CMKD's Pearson part", ours_pearson, "plain eager", plain_pearson
    yield "kd_loss", ours_kd, "F.kl_div on softmaxes", plain_kd
    if find_spec("torchdistill"):
        yield (
            "dist_loss",
            ours_dist,
            "torchdistill DISTLoss",
            _peer("DISTLoss", 1, beta=1.0, gamma=1.0, tau=TEMPERATURE),
        )
        # Without a cross-entropy beside it, its loss leaves the square of the temperature out.
        kd = _peer("KDLoss", TEMPERATURE**2, temperature=TEMPERATURE, alpha=0.0)
        yield "kd_loss", ours_kd, "torchdistill KDLoss", kd


def _step(loss: Loss, student: Tensor, teacher: Tensor) -> tuple[float, Tensor]:
    start = time.perf_counter()
    (gradient,) = torch.autograd.grad(loss(student, teacher), student)
    return time.perf_counter() - start, gradient


def _peak_bytes(loss: Loss, student: Tensor, teacher: Tensor) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        _step(loss, student, teacher)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        events = [event for event in json.loads(path.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: float(event["ts"])):
        now += event["args"]["Bytes"]
        peak = max(peak, now)
    return peak


def _row(shape: tuple[int, int], name: str, ours: Loss, other_name: str, other: Loss) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(shape, generator=generator) for _ in range(2))
    both = [(loss, student.requires_grad_(), teacher) for loss in (ours, other)]
    one, two = (_step(*one)[1] for one in both)
    # The peer bounds each norm instead of their product, which shows where columns are small.
    if not (one - two).norm() < 0.05 * two.norm():
        raise SystemExit(f"{name} and {other_name} differ at {shape}: not the same loss")
    spent = sum(_step(*one)[0] for one in both)
    rounds = max(LEAST_ROUNDS, min(200, int(SECONDS / spent)))
    times = [[_step(*one)[0] for one in both] for _ in range(rounds)]
    ratios = sorted(one / two for one, two in times)
    ours_time, other_time = (statistics.median(column) for column in zip(*times, strict=True))
    ours_peak, other_peak = (_peak_bytes(*one) / (4 * student.numel()) for one in both)
    return {
        "ours": name,
        "against": other_name,
        "logits": f"{shape[0]} x {shape[1]}",
        "time, ours / other": round(ours_time / other_time, 3),
        "middle half of rounds": f"{ratios[rounds // 4]:.3f} to {ratios[3 * rounds // 4]:.3f}",
        "memory, ours / other": round(ours_peak / other_peak, 3),
        "peaks (logit tensors)": f"{ours_peak:.2f}, {other_peak:.2f}",
    }


def main() -> None:
    """Measure every pair at every shape and keep the result."""
    # Freed at once: see the module's note on time.
    torch.ones(7 * 2**20)
    rows = [_row(shape, *pair) for pair in pairs() for shape in SHAPES]
    note = "" if find_spec("torchdistill") else "; torchdistill: not installed"
    record("losses-cpu", f"Losses, forward and backward in float32 at temperature {TEMPERATURE:g}{note}", rows)


if __name__ == "__main__":
    main()
