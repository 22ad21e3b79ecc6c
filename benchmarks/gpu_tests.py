"""The tests on a GPU: those that need one, then the fast part of the suite with its tensors there.

    python benchmarks/gpu_tests.py --device cuda --jobs 8 --minutes 4

Each part has a line in the result, with the names of what failed. Exits with 1 if something did.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from record import record

TREE = Path(__file__).parents[1]
FAST = ("losses", "targets", "modifiers", "selection", "distiller", "methods", "teachers")
# Of each part: its title and pytest's words.
PARTS: dict[str, list[tuple[str, list[str]]]] = {
    "all": [
        ("marked gpu", ["-m", "gpu", "tests"]),
        ("fast part", ["-m", "not shared and not gpu", *(f"tests/{name}" for name in FAST), "--device", "{device}"]),
        ("fast part, bf16", ["-m", "not shared", "tests/losses", "--device", "{device}", "--dtype", "bfloat16"]),
    ],
    "rehearsal": [
        ("marked gpu", ["-m", "gpu", "tests/training", "tests/teachers"]),
        ("fast part", ["-m", "not shared and not gpu", "tests/targets", "--device", "{device}"]),
    ],
}


def tested(title: str, words: Sequence[str], args: argparse.Namespace, deadline: float) -> dict[str, Any]:
    """Run pytest once, and return its counts."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        options = ["-q", "-p", "no:cacheprovider", "-n", str(args.jobs), f"--junitxml={report}", "--maxfail=20"]
        command = [sys.executable, "-m", "pytest", *options, *(word.format(device=args.device) for word in words)]
        start = time.monotonic()
        try:
            subprocess.run(command, cwd=TREE, check=False, timeout=max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return {"part": title, "result": "not finished in time", "seconds": round(time.monotonic() - start)}
        if not report.is_file():
            return {"part": title, "result": "pytest did not start", "seconds": round(time.monotonic() - start)}
        return {
            "part": title,
            **counts(ElementTree.parse(report).getroot()),
            "seconds": round(time.monotonic() - start),
        }


def counts(report: ElementTree.Element) -> dict[str, Any]:
    """Count what a report of pytest holds."""
    cases = list(report.iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {
        "passed": len(cases) - len(failed) - skipped,
        "failed": len(failed),
        "skipped": skipped,
        "which failed": ", ".join(f"{case.get('classname')}::{case.get('name')}" for case in failed),
    }


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="The tests on a GPU.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--parts", choices=tuple(PARTS), default="all")
    return parser.parse_args(words)


def main() -> int:
    """Run every part, and return 1 if a test failed."""
    args = arguments()
    deadline = time.monotonic() + 60 * args.minutes
    rows = [tested(title, words, args, deadline) for title, words in PARTS[args.parts]]
    record(f"tests-{args.device}", f"Tests on {args.device}", rows)
    return int(any(row.get("failed") or "result" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
