"""What our losses cost against plain eager formulas and against torchdistill's modules, as ratios within one run.

    OMP_NUM_THREADS=1 python benchmarks/losses.py

Time is that of forward and backward in float32, the competitors taking turns. Peak memory is that of a fresh process:
the high-water mark of its resident set above what it held before the call (Linux only: it resets the mark).
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from harness import in_turns, middle, ratios
from limbeck.losses import dist_loss, kd_loss
from record import record

SHAPES = ((64, 100), (256, 1000), (128, 21841), (65536, 19))
ROUNDS, TEMPERATURE = 15, 4.0
Loss = Callable[[Tensor, Tensor], Tensor]


def eager_dist(student: Tensor, teacher: Tensor) -> Tensor:
    """Return DIST by the formula, differentiated by autograd."""
    s, t = (F.softmax(z / TEMPERATURE, dim=1) for z in (student, teacher))

    def distance(dim: int) -> Tensor:
        a, b = s - s.mean(dim, keepdim=True), t - t.mean(dim, keepdim=True)
        norms = torch.linalg.vector_norm(a, dim=dim) * torch.linalg.vector_norm(b, dim=dim)
        return 1 - ((a * b).sum(dim) / (norms + 1e-8)).mean()

    return TEMPERATURE**2 * (distance(1) + distance(0))


def eager_kd(student: Tensor, teacher: Tensor) -> Tensor:
    """Return KD by ``F.kl_div`` on softmaxes."""
    log_student, soft = F.log_softmax(student / TEMPERATURE, dim=1), F.softmax(teacher / TEMPERATURE, dim=1)
    return TEMPERATURE**2 * F.kl_div(log_student, soft, reduction="batchmean")


def our_dist(student: Tensor, teacher: Tensor) -> Tensor:
    """Return our DIST."""
    return dist_loss(student, teacher, temperature=TEMPERATURE)


def our_kd(student: Tensor, teacher: Tensor) -> Tensor:
    """Return our KD."""
    return kd_loss(student, teacher, temperature=TEMPERATURE)


def peer(kind: str, **settings: float) -> Loss | None:
    """Return torchdistill's loss, or None where it is not installed."""
    try:
        from torchdistill.losses import mid_level
    except ImportError:
        return None
    sides = {f"{side}_module_{what}": value for side in ("student", "teacher") for what, value in PLACES}
    module = getattr(mid_level, kind)(**sides, **settings)
    return lambda s, t: module({".": {"output": s}}, {".": {"output": t}})


PLACES = (("path", "."), ("io", "output"))
COMPETITORS: dict[str, dict[str, Loss | None]] = {
    "dist": {"ours": our_dist, "eager": eager_dist, "torchdistill": peer("DISTLoss", tau=TEMPERATURE)},
    "kd": {"ours": our_kd, "eager": eager_kd, "torchdistill": peer("KDLoss", temperature=TEMPERATURE, alpha=0.0)},
}


def _inputs(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(shape, generator=generator) for _ in range(2))
    return student.requires_grad_(True), teacher


def _loop(loss: Loss, shape: tuple[int, int]) -> Callable[[int], None]:
    student, teacher = _inputs(shape)

    def both_ways(_: int) -> None:
        student.grad = None
        torch.autograd.backward(loss(student, teacher))

    return both_ways


def _status(field: str) -> int:
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(field))
    return int(line.split()[1])


def _print_peak(loss: str, name: str, shape: tuple[int, int]) -> None:
    """Print, in this process, the kilobytes that one call took at its peak."""
    chosen = COMPETITORS[loss][name]
    assert chosen is not None
    _loop(chosen, (4, shape[1]))(0)
    loop = _loop(chosen, shape)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    loop(0)
    print(_status("VmHWM") - before)


def _peak(loss: str, name: str, shape: tuple[int, int]) -> int:
    words = [sys.executable, __file__, "--peak", loss, name, *map(str, shape)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def _row(loss: str, shape: tuple[int, int]) -> dict[str, object]:
    there = {name: one for name, one in COMPETITORS[loss].items() if one is not None}
    taken = in_turns({name: _loop(one, shape) for name, one in there.items()}, ROUNDS)
    row: dict[str, object] = {"loss": loss, "rows x classes": f"{shape[0]} x {shape[1]}"}
    row["ours (ms)"] = round(1e3 * middle(taken["ours"], 6), 2)
    for other in ("eager", "torchdistill"):
        known = other in there
        row[f"time / {other}"] = middle(ratios(taken, "ours", other), 2) if known else "not installed"
    # Below this the process's own pages are most of what is seen.
    if shape[0] * shape[1] >= 2**17:
        row["peak memory / eager"] = round(_peak(loss, "ours", shape) / _peak(loss, "eager", shape), 2)
    return row


def main() -> None:
    """Measure every loss and shape, and keep the result."""
    if sys.argv[1:2] == ["--peak"]:
        loss, name, samples, classes = sys.argv[2:]
        _print_peak(loss, name, (int(samples), int(classes)))
        return
    rows = [_row(loss, shape) for loss in COMPETITORS for shape in SHAPES]
    record("losses-cpu", "Losses, forward and backward in float32: ours against plain eager and torchdistill", rows)


if __name__ == "__main__":
    main()
