"""Print docs/figures.md, from the pages of benchmarks/results: python tools/figures.py > docs/figures.md."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
_COMMAND = re.compile(r"`((?:[A-Z_]+=\S+ )*(?:python|limbeck) [^`\n]+)`")
_COMMITS = re.compile(r"commit ((?:[0-9a-f]{7}\b(?: with changes)?(?:, )?)+)")
HEAD = """# How each figure was made

Every table of measurements is a page in `benchmarks/results/`, with the command that made it and the commit,
the machine and the versions that it was made with. A commit "with changes" had changes that were not committed.
Several commits are those of the runs, which lasted longer than one version. The figures of README and of the
other pages are those of these tables, or name their command themselves.

- Repeat one: `OMP_NUM_THREADS=1 .venv/bin/python benchmarks/NAME.py`, in a clone with `make lint` done once.
  `peers.py`, `compare.py` and `accuracy.py` need CIFAR-100, `claims.py` the data sets that
  [claims.md](claims.md) names.
- `make demo` prints the first table of README.
- The seconds are those of a machine that others used too, and compare within one table alone.
- No figure here is of a GPU: [benchmarks/GPU.md](../benchmarks/GPU.md) has what is planned.

This page is made by `python tools/figures.py > docs/figures.md`.
"""


class Source(NamedTuple):
    """Where a table comes from.

    Attributes:
        page: Its file.
        title: What it shows.
        commands: What made it.
        commits: The versions of limbeck that made it.
    """

    page: str
    title: str
    commands: tuple[str, ...]
    commits: tuple[str, ...]


def source(name: str, text: str) -> Source:
    r"""Read a page of results.

    Example:
        >>> source("step.md", "# A step\n`python benchmarks/step.py`\ndate 2026-11-21, commit c72062c, threads 1")
        Source(page='step.md', title='A step', commands=('python benchmarks/step.py',), commits=('c72062c',))
    """
    title = text.splitlines()[0].removeprefix("# ")
    commits = [commit for listed in _COMMITS.findall(text) for commit in listed.split(", ") if commit]
    return Source(name, title, tuple(dict.fromkeys(_COMMAND.findall(text))), tuple(dict.fromkeys(commits)))


def sources() -> Iterator[Source]:
    """Read all pages of results."""
    for path in sorted(RESULTS.glob("*.md")):
        yield source(path.name, path.read_text(encoding="utf-8"))


def page() -> str:
    """Write docs/figures.md."""
    return "\n".join([HEAD, "| table | command | commit |", "|---|---|---|", *map(_line, sources()), ""])


def _line(each: Source) -> str:
    # A table that is put together from others has those of its sources.
    commands = _code(each.commands) or "on the pages that it names"
    cells = (_link(each), commands, ", ".join(each.commits) or ("not recorded" if each.commands else ""))
    return f"| {' | '.join(cells)} |"


def _link(each: Source) -> str:
    return f"[{each.title}](../benchmarks/results/{each.page})"


def _code(commands: tuple[str, ...]) -> str:
    return "<br>".join(f"`{command}`" for command in commands).replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
