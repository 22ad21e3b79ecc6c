"""Time one network in a process of its own; run as a file: ``python timed_process.py JOB.json``, which prints JSON.

It imports nothing but NumPy and the library that runs the network, so that its memory is what such a program needs.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any


def timed(run: Callable[[int], object], sizes: Sequence[int], seconds: float) -> dict[str, float]:
    """Return the latency at batch 1, the memory after that, and the best throughput of several batch sizes.

    Args:
        run: Computes a batch of so many samples.
        sizes: The sizes to compare.
        seconds: How long the latency is measured; each size takes a fourth of it.

    Example:
        >>> sorted(timed(lambda size: None, [1, 8], 0.001))
        ['batch', 'busy', 'latency', 'latency_p95', 'memory', 'throughput']
    """
    start, began = time.process_time(), time.perf_counter()
    times = _repeated(partial(run, 1), seconds, fewest=20)
    found = {
        "busy": (time.process_time() - start) / (time.perf_counter() - began),
        "latency": statistics.median(times),
        "latency_p95": statistics.quantiles(times, n=20, method="inclusive")[-1],
        "memory": peak_memory(),
    }
    speeds = {size: size / statistics.median(_repeated(partial(run, size), seconds / 4, fewest=3)) for size in sizes}
    best = max(speeds, key=lambda size: speeds[size])
    return {**found, "batch": best, "throughput": speeds[best]}


def _repeated(work: Callable[[], object], seconds: float, fewest: int) -> list[float]:
    """Return the seconds of each of several times; those before find memory and kernels."""
    for _ in range(3):
        work()
    times: list[float] = []
    while len(times) < fewest or sum(times) < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def peak_memory() -> int:
    """Return the most bytes of the machine's memory that this process has had.

    Example:
        >>> peak_memory() > 1e6
        True
    """
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage returns counts what the process had before it ran this program: a copy of its parent.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def onnx_run(job: Mapping[str, Any]) -> Callable[[int], object]:
    """Return what runs a job's ONNX file on the first samples of its inputs."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(job["file"], options, providers=["CPUExecutionProvider"])
    with np.load(job["inputs"]) as stored:
        inputs = {name: stored[name] for name in stored.files}
    batches = {n: {name: np.ascontiguousarray(inputs[name][:n]) for name in job["names"]} for n in (1, *job["sizes"])}
    return lambda size: session.run(None, batches[size])


def torch_run(job: Mapping[str, Any]) -> Callable[[int], object]:
    """Return what runs a job's program of ``torch.export`` on the first samples of its inputs."""
    import numpy as np
    import torch

    torch.set_num_threads(job["threads"])
    network = torch.export.load(job["file"]).module()
    with np.load(job["inputs"]) as stored:
        inputs = [torch.from_numpy(stored[name]) for name in job["names"]]
    batches = {n: [part[:n].contiguous() for part in inputs] for n in (1, *job["sizes"])}

    def run(size: int) -> object:
        with torch.inference_mode():
            return network(*batches[size])

    return run


def main() -> None:
    """Time the job that the command line names."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    run = (onnx_run if job["kind"] == ".onnx" else torch_run)(job)
    print(json.dumps(timed(run, job["sizes"], job["seconds"])))


if __name__ == "__main__":
    main()
