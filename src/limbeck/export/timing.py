"""Latency, throughput and memory of an exported network, measured in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import Tensor

from limbeck.errors import RunError, shortened
from limbeck.export import timed_process

BATCHES = (1, 8, 32, 128)


@dataclass(frozen=True)
class Timing:
    """What a network takes on this machine.

    Attributes:
        latency: The median seconds of a batch of one sample.
        latency_p95: The seconds that 95 of 100 such batches stay below.
        memory: The most bytes that the process had, with the library that runs the network, at batches of one.
        throughput: Samples a second at the best batch size.
        batch: That size.
        busy: How many of the machine's processors the process had on average; less than its threads where other
            programs ran, too.
    """

    latency: float
    latency_p95: float
    memory: int
    throughput: float
    batch: int
    busy: float = 1.0


def time_file(file: Path, inputs: Mapping[str, Tensor], *, threads: int, seconds: float) -> Timing:
    """Time an exported file: ``.onnx`` in onnxruntime, ``.pt2`` in PyTorch.

    Args:
        file: The file, which limbeck wrote.
        inputs: What it is given, by name and in its order, for as many samples as the largest batch to try.
        threads: How many threads compute.
        seconds: How long the latency is measured.

    Raises:
        RunError: If the process fails.
    """
    count = len(next(iter(inputs.values())))
    with TemporaryDirectory() as folder:
        stored, job = Path(folder) / "inputs.npz", Path(folder) / "job.json"
        np.savez(stored, **{name: part.contiguous().numpy() for name, part in inputs.items()})  # type: ignore[arg-type]
        settings = {
            "kind": file.suffix,
            "file": str(file),
            "inputs": str(stored),
            "names": list(inputs),
            "sizes": [size for size in BATCHES if size <= count],
            "threads": threads,
            "seconds": seconds,
        }
        job.write_text(json.dumps(settings), encoding="utf-8")
        # -P: the modules beside that file are no modules of that process.
        command = [sys.executable, "-P", timed_process.__file__, str(job)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        reason = shortened(last, 300, quoted=False)
        raise RunError(f"speed: the process that times the network failed with {done.returncode} ({reason})")
    return Timing(**json.loads(done.stdout.splitlines()[-1]))
