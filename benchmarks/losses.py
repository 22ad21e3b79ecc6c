"""Time and memory of our losses, forward and backward, as ratios to plain eager formulas and to a peer's losses.

    python benchmarks/losses.py                 # with one thread, then with two; --threads 1 for one of them
    python benchmarks/losses.py --device cuda

Time: both sides take turns, so that a machine whose speed drifts treats both alike; medians over the rounds. On a
machine that others use too, ``--clock cpu`` counts the processor's time, which means something with one thread. Before
that a large tensor is freed, after which the C library's allocator keeps freed memory, as in any longer training.
Memory: torch.profiler reports every allocation and release of a tensor on CPU, kernels' temporaries included; the peak
is the highest running sum of one forward and backward, without the logits. "whole" is the same loss on all rows at
once instead of block by block. Where torchdistill is not installed, its rows are left out and the title names them.
On a GPU a measured time is that of several calls and the wait for the last, and the peak is the allocator's; "as a
graph" compares replays of a recorded forward and backward, where no call of the host counts.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from limbeck import losses
from limbeck.losses import _blocks, dist_loss, kd_loss
from limbeck.losses._correlation import correlation_distance
from record import record

Shape = tuple[int, int]
SHAPES: tuple[Shape, ...] = ((64, 100), (256, 1000), (128, 21841), (65536, 19))
# The ranks of CMKD take the square of the classes.
CMKD_SHAPES: tuple[Shape, ...] = ((64, 100), (256, 100), (64, 1000), (65536, 19))
LARGE: tuple[Shape, ...] = ((128, 21841), (4096, 8192))
TEMPERATURE, LEAST_ROUNDS = 4.0, 9
# Of one measured time on a GPU, whose clock is the host's.
CALLS = 10
Loss = Callable[[Tensor, Tensor], Tensor]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Way:
    """How it is measured: the clock, about how many seconds for each comparison, and where."""

    clock: Clock = time.perf_counter
    seconds: float = 3.0
    device: str = "cpu"


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


def bounded_dist(student: Tensor, teacher: Tensor) -> Tensor:
    """Return DIST by the same plain formula, with the bound that our default has."""
    scales = (TEMPERATURE**2, TEMPERATURE**2)
    return correlation_distance(student, teacher, TEMPERATURE, False, None, scales, losses.MIN_SPREAD)


def of_rows(name: str) -> Loss:
    """Return one of our losses of rows at its defaults, with labels if it takes them."""
    loss: Callable[..., Tensor] = getattr(losses, name)
    if name not in ("dkd_loss", "nkd_loss", "rld_loss"):
        return loss
    return lambda student, teacher: loss(student, teacher, torch.arange(len(student)) % student.shape[1])


def whole(loss: Loss) -> Loss:
    """Return a loss of rows that is never cut into blocks."""

    def on_all_rows(student: Tensor, teacher: Tensor) -> Tensor:
        least = _blocks._CPU_ROW_WISE, _blocks._GPU_ROW_WISE
        _blocks._CPU_ROW_WISE = _blocks._GPU_ROW_WISE = sys.maxsize
        try:
            return loss(student, teacher)
        finally:
            _blocks._CPU_ROW_WISE, _blocks._GPU_ROW_WISE = least

    return on_all_rows


def _peer(name: str, scale: float, **settings: Any) -> Loss:
    from torchdistill.losses import mid_level

    where = {f"{who}_module_{what}": "x" for who in ("student", "teacher") for what in ("path", "io")}
    loss = getattr(mid_level, name)(**where, **settings)
    return lambda student, teacher: scale * loss({"x": {"x": student}}, {"x": {"x": teacher}}, None)


def pairs() -> Iterator[tuple[str, Loss, str, Loss, tuple[Shape, ...]]]:
    """Yield what is compared: name, ours, the other's name, the other, and the logits' shapes."""
    yield "dist_loss", ours_dist, "plain eager", plain_dist, SHAPES
    yield "dist_loss", ours_dist, "plain eager, bounded", bounded_dist, SHAPES
    yield "kd_loss", ours_kd, "F.kl_div on softmaxes", plain_kd, SHAPES
    yield "cmkd_loss", losses.cmkd_loss, "whole", whole(losses.cmkd_loss), CMKD_SHAPES
    for name in ("kd_loss", "dkd_loss", "nkd_loss", "reverse_kl_loss", "jsd_loss", "ttm_loss", "rld_loss"):
        yield name, of_rows(name), "whole", whole(of_rows(name)), LARGE
    if find_spec("torchdistill"):
        peer = _peer("DISTLoss", 1, beta=1.0, gamma=1.0, tau=TEMPERATURE)
        yield "dist_loss", ours_dist, "torchdistill DISTLoss", peer, SHAPES
        # Without a cross-entropy beside it, its loss leaves the square of the temperature out.
        kd = _peer("KDLoss", TEMPERATURE**2, temperature=TEMPERATURE, alpha=0.0)
        yield "kd_loss", ours_kd, "torchdistill KDLoss", kd, SHAPES


def _step(loss: Loss, student: Tensor, teacher: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss(student, teacher), student)
    return gradient


def _seconds(call: Callable[[], object], clock: Clock, *, on_gpu: bool) -> float:
    calls = CALLS if on_gpu else 1
    if on_gpu:
        torch.cuda.synchronize()
    start = clock()
    for _ in range(calls):
        call()
    if on_gpu:
        torch.cuda.synchronize()
    return (clock() - start) / calls


def _recorded(call: Callable[[], object]) -> Callable[[], object]:
    """Return the replay of a call that is recorded as a CUDA graph."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()

    def replay() -> object:
        graph.replay()
        # What was recorded writes to the memory of this result.
        return kept

    return replay


def _peak_bytes(loss: Loss, student: Tensor, teacher: Tensor) -> int:
    if student.is_cuda:
        return _peak_bytes_on_gpu(loss, student, teacher)
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


def _peak_bytes_on_gpu(loss: Loss, student: Tensor, teacher: Tensor) -> int:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    _step(loss, student, teacher)
    return int(torch.cuda.max_memory_allocated()) - before


def _logits(shape: Shape, device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = ((3 * torch.randn(shape, generator=generator)).to(device) for _ in range(2))
    return student.requires_grad_(), teacher


def _times(steps: Sequence[Callable[[], object]], way: Way) -> list[tuple[float, float]]:
    """Return the times of both, turn by turn."""
    on_gpu = way.device == "cuda"
    spent = sum(_seconds(step, time.perf_counter, on_gpu=on_gpu) for step in steps)
    rounds = max(LEAST_ROUNDS, min(2000, int(way.seconds / spent / (CALLS if on_gpu else 1))))
    ours, other = (partial(_seconds, step, way.clock, on_gpu=on_gpu) for step in steps)
    return [(ours(), other()) for _ in range(rounds)]


def _medians(times: Sequence[tuple[float, float]]) -> tuple[float, float]:
    ours, other = (statistics.median(column) for column in zip(*times, strict=True))
    return ours, other


def _row(shape: Shape, name: str, ours: Loss, other_name: str, other: Loss, way: Way) -> dict[str, Any]:
    student, teacher = _logits(shape, way.device)
    both = [(loss, student, teacher) for loss in (ours, other)]
    our_gradient, other_gradient = (_step(*one) for one in both)
    # The peer bounds each norm instead of their product, which shows where columns are small.
    if not (our_gradient - other_gradient).norm() < 0.05 * other_gradient.norm():
        raise SystemExit(f"{name} and {other_name} differ at {shape}: not the same loss")
    steps = [partial(_step, *one) for one in both]
    times = _times(steps, way)
    ratios = sorted(ours / other for ours, other in times)
    our_time, other_time = _medians(times)
    our_peak, other_peak = (_peak_bytes(*one) / (4 * student.numel()) for one in both)
    row = {
        "ours": name,
        "against": other_name,
        "logits": f"{shape[0]} x {shape[1]}",
        "threads": torch.get_num_threads(),
        "time, ours / other": round(our_time / other_time, 3),
        "middle half of rounds": f"{ratios[len(ratios) // 4]:.3f} to {ratios[3 * len(ratios) // 4]:.3f}",
        "memory, ours / other": round(our_peak / other_peak, 3),
        "peaks (logit tensors)": f"{our_peak:.2f}, {other_peak:.2f}",
    }
    if way.device == "cuda":
        row |= {"ours (us)": round(1e6 * our_time, 1), "as a graph, ours / other": _graph_ratio(steps, way)}
    return row


def _graph_ratio(steps: Sequence[Callable[[], object]], way: Way) -> float | str:
    try:
        replays = [_recorded(step) for step in steps]
    except RuntimeError as error:
        return f"not recorded: {str(error).splitlines()[0]}"
    ours, other = _medians(_times(replays, way))
    return round(ours / other, 3)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", help="by default 1, then 2; on a GPU 1")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seconds", type=float, default=3.0, help="about, for each comparison")
    parser.add_argument("--largest", type=int, help="leave out logits of more numbers")
    parser.add_argument("--name", help="of the result, by default losses-DEVICE")
    args = parser.parse_args(words)
    args.threads = args.threads or ([1] if args.device == "cuda" else [1, 2])
    return args


def main() -> None:
    """Measure every pair at every shape, with each number of threads, and keep the result."""
    args, rows = arguments(), []
    way = Way(CLOCKS[args.clock], args.seconds, args.device)
    # Freed at once: see the module's note on time.
    torch.ones(7 * 2**20)
    for threads in args.threads:
        torch.set_num_threads(threads)
        for name, ours, other_name, other, shapes in pairs():
            fitting = [shape for shape in shapes if args.largest is None or shape[0] * shape[1] <= args.largest]
            rows += [_row(shape, name, ours, other_name, other, way) for shape in fitting]
    note = "" if find_spec("torchdistill") else "; torchdistill: not installed"
    title = f"Losses, forward and backward in float32 at temperature {TEMPERATURE:g}, {args.clock} time{note}"
    record(args.name or f"losses-{args.device}", title, rows)


if __name__ == "__main__":
    main()
