"""What a machine has: Python, torch, GPU, memory, and every package that limbeck needs, beside the versions it allows.

    python benchmarks/gpu_check.py --device cuda

Exits with 1 if a package is missing, or with --device cuda if torch sees no GPU.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import torch
from packaging.requirements import Requirement

from harness import cores
from record import record

MISSING = "missing"
EXTRAS = ("pytest", "pytest-xdist", "scipy", "captum", "torchdistill")


def needs() -> Iterator[Requirement]:
    """Yield each package that limbeck needs, and what tests and comparisons need besides."""
    for line in requires("limbeck") or ():
        requirement = Requirement(line)
        if requirement.marker is None:
            yield requirement
    yield from map(Requirement, EXTRAS)


def packages() -> Iterator[dict[str, Any]]:
    """Yield a row for each package."""
    for needed in needs():
        row = {"what": needed.name, "needed": str(needed.specifier) or "for tests and comparisons"}
        try:
            found = version(needed.name)
            yield {**row, "is": found, "fits": "" if needed.specifier.contains(found) else "no"}
        except PackageNotFoundError:
            yield {**row, "is": MISSING}


def machine() -> Iterator[dict[str, Any]]:
    """Yield a row for each fact about the machine."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    yield {"what": "python", "is": sys.version.split()[0]}
    yield {"what": "cores", "is": cores()}
    yield {"what": "memory (GiB)", "is": round(pages * size / 2**30)}
    yield {"what": "free disk (GiB)", "is": round(shutil.disk_usage(".").free / 2**30)}
    yield {"what": "CUDA of torch", "is": torch.version.cuda or "none"}
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        yield {"what": "GPU", "is": facts.name}
        yield {"what": "GPU memory (GiB)", "is": round(facts.total_memory / 2**30)}
        yield {"what": "cuDNN", "is": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What a machine has.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser.parse_args(words)


def main() -> int:
    """Write what is there, and return 1 if something is missing."""
    args, rows = arguments(), [*machine(), *packages()]
    record(f"machine-{args.device}", "The machine", rows)
    missing = [row["what"] for row in rows if row["is"] == MISSING]
    if missing:
        print(f"missing: {', '.join(missing)}")
    blind = args.device == "cuda" and not torch.cuda.is_available()
    if blind:
        print("torch sees no GPU")
    return int(bool(missing) or blind)


if __name__ == "__main__":
    sys.exit(main())
