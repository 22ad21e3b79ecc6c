"""The stages on a machine with a GPU: what each runs there, and what stands for it in a rehearsal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Words = tuple[str, ...]
GRAPH = "training.cuda_graph=true"
# Methods in the order of value; our own composition is the last.
METHODS = "none,kd,dist,lskd+dkd,dkd,lr,lr+dist,lw_kd,lr_ds,dr_kd"
SEEDS = 3
# The teacher at hand first, which needs no training.
GROUPS = (
    ("micronet", "resnet32x4:resnet8x4"),
    ("trained", "resnet32x4:resnet8x4"),
    ("trained", "resnet56:resnet20"),
    ("micronet", "resnet56:resnet20"),
)


@dataclass(frozen=True)
class Stage:
    """One thing to run.

    Attributes:
        name: Of its log and its state.
        minutes: The longest that it may take.
        least: Minutes that have to be left for it to begin.
        commands: What runs on the GPU, each the words behind ``python``.
        rehearsal: What runs on a CPU instead.
        results: What it leaves among the results, by name; a stage whose results are recorded is not run again.
        data: Whether it needs all of CIFAR-100.
    """

    name: str
    minutes: float
    least: float
    commands: tuple[Words, ...]
    rehearsal: tuple[Words, ...]
    results: tuple[str, ...] = ()
    data: bool = False


def _script(name: str, words: str) -> Words:
    return (f"benchmarks/{name}.py", *words.split())


def _measured(name: str, minutes: float, least: float, words: str, rehearsal: str, results: str = "") -> Stage:
    commands = (_script(name, f"--device cuda {words}"),)
    stems = tuple(f"{stem}-cuda" for stem in (results or name).split())
    return Stage(name, minutes, least, commands, (_script(name, rehearsal),), stems)


def _accuracy(group: tuple[str, str], words: str, name: str = "") -> Words:
    teacher, pair = group
    table = table_name(*group)
    rows = f"--teacher {teacher} --pairs {pair} --methods {METHODS} --seeds {SEEDS}"
    graph = f"{GRAPH} teacher.{GRAPH}" if teacher == "trained" else GRAPH
    return _script(
        "accuracy", f"--budget paper {rows} --name {name or table} {_kept(table)} {words} --minutes {{minutes}} {graph}"
    )


def _kept(name: str) -> str:
    return f"--ledger {{results}}/{name}.jsonl --out {{work}}/{name} --store {{work}}/store"


def _rehearsed(name: str, teacher: str, methods: str, words: str = "") -> Words:
    pair = "resnet8x4:resnet8" if teacher == "trained" else "resnet56:resnet20"
    what = f"--budget smoke --cache views --teacher {teacher} --pairs {pair} --methods {methods} --name {name}"
    kept = _kept(f"rehearsed-{teacher}")
    return _script("accuracy", f"{what} {kept} {words} --minutes {{minutes}} {GRAPH} data.train_limit=1000")


def table_name(teacher: str, pair: str) -> str:
    """Name the table of a teacher and a pair.

    Example:
        >>> table_name("micronet", "resnet32x4:resnet8x4")
        'accuracy-cuda-micronet-resnet8x4'
    """
    return f"accuracy-cuda-{teacher}-{pair.split(':')[1]}"


def _rows() -> Iterator[Words]:
    """Yield the table's commands: the first seed of every pair, then the next."""
    for seed in range(SEEDS):
        for teacher, pair in GROUPS:
            yield _accuracy((teacher, pair), f"--train-seeds {seed} --jobs auto")


STAGES: Sequence[Stage] = (
    Stage(
        "check",
        1,
        0.2,
        (_script("gpu_check", "--device cuda"),),
        (_script("gpu_check", "--device cpu"),),
        ("machine-cuda",),
    ),
    Stage(
        "tests",
        3.5,
        2,
        (_script("gpu_tests", "--device cuda --minutes 3.3 --jobs 8"),),
        (_script("gpu_tests", "--device cpu --minutes 3 --jobs 1 --parts rehearsal"),),
        ("tests-cuda",),
    ),
    _measured("step", 2, 1, "--steps 300 --rounds 5", "--steps 4 --rounds 1 --pairs 0", "step step-cached"),
    _measured(
        "peers",
        2.5,
        1.5,
        "--random --steps 200 --rounds 3 --workers 8 --methods dist",
        "--random --steps 4 --rounds 1 --batch-size 16 --pairs 0 --methods kd",
    ),
    _measured(
        "sharing",
        3,
        2,
        "--processes 1,4,8 --seconds 4 --steps 300",
        "--processes 1,2 --seconds 2 --steps 5 --epochs 2 --pairs 1",
    ),
    _measured(
        "throughput",
        1.5,
        0.7,
        "--batch-size 256 --steps 20 --rounds 3",
        "--batch-size 4 --steps 5 --rounds 1 --size 64 --classes 10",
    ),
    _measured(
        "losses",
        2,
        1,
        "--seconds 0.5",
        "--threads 1 --seconds 0.1 --largest 10000",
    ),
    Stage(
        "figure",
        8,
        3,
        (_accuracy(GROUPS[0], "--train-methods dist --train-seeds 0 --jobs 1", name="figure-cuda"),),
        (_rehearsed("rehearsed-figure", "micronet", "none,dist", "--train-methods dist"),),
        data=True,
    ),
    Stage(
        "rows",
        9,
        1,
        tuple(_rows()),
        (
            _rehearsed("rehearsed-micronet", "micronet", METHODS, "--jobs auto"),
            _rehearsed("rehearsed-trained", "trained", "none,dist"),
        ),
        data=True,
    ),
)


def filled(words: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """Put folders and minutes into a command's words.

    Example:
        >>> filled(("a.py", "--out", "{work}/runs"), {"work": "/w", "minutes": "2"})
        ['a.py', '--out', '/w/runs']
    """
    return [word.format(**places) if "{" in word else word for word in words]


def named(names: Sequence[str], results: Path) -> bool:
    """Return whether all of these results are recorded in a folder; not if there are none.

    Example:
        >>> named((), Path("nowhere"))
        False
    """
    return bool(names) and all((results / f"{name}.json").is_file() for name in names)
