"""Keep what a benchmark measured, with what made it: commit, machine, versions and command."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

# LIMBECK_RESULTS: where a rehearsal, or a machine that only lends its GPU, keeps them.
RESULTS = Path(os.environ.get("LIMBECK_RESULTS") or Path(__file__).parent / "results")


def _git(*words: str) -> str:
    if shutil.which("git") is None:
        return ""
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """Return the commit that is measured; LIMBECK_COMMIT names it where the files travelled without their history."""
    if named := os.environ.get("LIMBECK_COMMIT"):
        return named
    changed = " with changes" if _git("status", "--porcelain", "--", "../src") else ""
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + changed


def origin() -> dict[str, Any]:
    """Return the commit, machine, versions and command that numbers come from."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": date.today().isoformat(),
        "commit": commit(),
        "command": " ".join([Path(sys.executable).name, *sys.argv]),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": version("torch"),
        "limbeck": version("limbeck"),
    }


def markdown(title: str, rows: Sequence[Mapping[str, Any]], made: Mapping[str, Any], notes: Sequence[str] = ()) -> str:
    """Write rows as a table, with notes and a line about where they come from."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [f"# {title}", "", "| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    lines += ["| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in rows]
    about = ", ".join(f"{key} {value}" for key, value in made.items() if value is not None and key != "command")
    listed = ["", *(f"- {note}" for note in notes)] if notes else []
    return "\n".join([*lines, *listed, "", f"`{made['command']}`", "", about, ""])


def record(
    name: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    notes: Sequence[str] = (),
    *,
    show: bool = True,
    folder: Path | None = None,
) -> None:
    """Write the rows to ``NAME.json`` and ``NAME.md``, and print them unless ``show`` is off.

    Args:
        name: Of the files.
        title: Of the table.
        rows: Its rows.
        notes: Lines below it.
        show: Whether to print it.
        folder: Where, by default ``benchmarks/results``.
    """
    made, folder = origin(), folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    content = {"title": title, "made": made, "rows": rows, "notes": list(notes)}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    text = markdown(title, rows, made, notes)
    (folder / f"{name}.md").write_text(text)
    if show:
        print(text)
