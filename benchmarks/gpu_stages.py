"""The stages of a session with a GPU: what each runs there, and what stands for it in a rehearsal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Words = tuple[str, ...]
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
        title: What it is.
        minutes: The longest that it may take.
        least: Minutes that have to be left for it to begin.
        commands: What runs on the GPU, each the words behind ``python``.
        rehearsal: What runs on a CPU instead.
        results: What it leaves among the results, by name; a stage whose results are recorded is not run again.
        data: Whether it needs all of CIFAR-100.
    """

    name: str
    title: str
    minutes: float
    least: float
    commands: tuple[Words, ...]
    rehearsal: tuple[Words, ...]
    results: tuple[str, ...] = ()
    data: bool = False


def _script(name: str, words: str) -> Words:
    return (f"benchmarks/{name}.py", *words.split())


def _measured(
    name: str, title: str, minutes: float, least: float, words: str, rehearsal: str, results: str = ""
) -> Stage:
    commands = (_script(name, f"--device cuda {words}"),)
    stems = tuple(f"{stem}-cuda" for stem in (results or name).split())
    return Stage(name, title, minutes, least, commands, (_script(name, rehearsal),), stems)


def _accuracy(name: str, teacher: str, pair: str, words: str) -> Words:
    graph = "training.cuda_graph=true teacher.training.cuda_graph=true" if teacher == "trained" else GRAPH
    common = f"--budget paper --teacher {teacher} --pairs {pair} --seeds {SEEDS} --name {name}"
    return _script("accuracy", f"{common} --ledger {{results}}/{name}.jsonl --out {{work}}/{name} {words} {graph}")


GRAPH = "training.cuda_graph=true"
_SMOKE = "--budget smoke --cache views --out {work}/rehearsed-{teacher} --ledger {results}/rehearsed-{teacher}.jsonl"


def _rehearsed(name: str, teacher: str, methods: str, words: str = "") -> Words:
    kept = _SMOKE.replace("{teacher}", teacher)
    pair = "resnet8x4:resnet8" if teacher == "trained" else "resnet56:resnet20"
    chosen = f"--teacher {teacher} --pairs {pair} --methods {methods} --name {name} {words}"
    return _script("accuracy", f"{kept} {chosen} {GRAPH} data.train_limit=256")


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
            words = f"--methods {METHODS} --train-seeds {seed} --jobs auto --minutes {{minutes}}"
            yield _accuracy(table_name(teacher, pair), teacher, pair, words)


_FIGURE = table_name(*GROUPS[0])
STAGES: Sequence[Stage] = (
    Stage(
        "check",
        "what is there: packages, GPU, memory, data",
        1,
        0.2,
        (_script("gpu_check", "--device cuda"),),
        (_script("gpu_check", "--device cpu"),),
        ("machine-cuda",),
    ),
    Stage(
        "tests",
        "the tests that need a GPU, then the fast ones on it",
        3.5,
        2,
        (_script("gpu_tests", "--device cuda --minutes 3.3 --jobs 8"),),
        (_script("gpu_tests", "--device cpu --minutes 3 --jobs 1 --parts rehearsal"),),
        ("tests-cuda",),
    ),
    _measured("step", "training steps", 2, 1, "--steps 300 --rounds 5", "--steps 5 --rounds 1", "step step-cached"),
    _measured(
        "peers",
        "the same distillation by others",
        2,
        1,
        "--random --steps 60 --rounds 3 --workers 8",
        "--random --steps 4 --rounds 1 --batch-size 16 --pairs 0 --methods kd",
    ),
    _measured(
        "sharing",
        "several trainings at once",
        2,
        1,
        "--processes 1,2,4,8 --seconds 5 --steps 300",
        "--processes 1,2 --seconds 2 --steps 5 --epochs 2 --pairs 1",
    ),
    _measured(
        "throughput",
        "images a second at ImageNet's size",
        1.5,
        0.7,
        "--batch-size 256 --steps 20 --rounds 3",
        "--batch-size 4 --steps 5 --rounds 1 --size 64 --classes 10",
    ),
    _measured(
        "losses",
        "losses",
        2,
        1,
        "--seconds 0.5",
        "--threads 1 --seconds 0.1 --largest 10000",
    ),
    Stage(
        "figure",
        "240 epochs of resnet8x4 with a filled cache, alone",
        8,
        3,
        (
            _accuracy(
                _FIGURE,
                *GROUPS[0],
                f"--methods {METHODS} --train-methods dist --train-seeds 0 --jobs 1 --minutes {{minutes}}",
            ),
        ),
        (_rehearsed("rehearsed-figure", "micronet", "none,dist", "--train-methods dist --minutes {minutes}"),),
        data=True,
    ),
    Stage(
        "rows",
        "the accuracy table, row by row",
        9,
        1,
        tuple(_rows()),
        (
            _rehearsed("rehearsed-micronet", "micronet", METHODS, "--jobs auto --minutes {minutes}"),
            _rehearsed("rehearsed-trained", "trained", "none,dist", "--minutes {minutes}"),
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
