"""Commands as processes that are killed at chosen or random moments, and resumed until they are done."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open

from stopped_runs import TIMES, summary

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LONGEST = 300.0
# What commands print when all is written.
LAST_LINES = ("test accuracy", "table", "logit cache")
# Processes that are started from one in the background ignore Ctrl-C.
PROGRAM = """import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("limbeck", run_name="__main__", alter_sys=True)"""


class Kill(NamedTuple):
    """A signal at a moment of a command.

    Attributes:
        number: The signal.
        seconds: How long after its first line at the latest.
        files: The moment a file of this pattern is in the folder, if that comes first; "" for none.
        text: The moment its output has this text, likewise.
        group: Whether every process of the command gets it, as from a scheduler.
    """

    number: int
    seconds: float
    files: str = ""
    text: str = ""
    group: bool = False


class Command:
    """A command of ``limbeck``, as a process of a group of its own that has the usual handlers of signals.

    Args:
        words: The command's words.
        folder: Where it works; its output goes to ``output.txt`` there.
    """

    def __init__(self, words, folder):
        self.words, self.folder, self.output = [str(word) for word in words], folder, folder / "output.txt"

    def __enter__(self):
        self.before = len(lines_of(self.folder))
        with self.output.open("a") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *self.words],
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def running(self):
        return self.process.poll() is None

    @property
    def written(self):
        """The lines of this process."""
        return lines_of(self.folder)[self.before :]

    def wait(self, kill=None):
        """Wait for the end, or for the moment of ``kill``, then send it."""
        deadline, start = time.monotonic() + LONGEST, None
        while self.running:
            assert time.monotonic() < deadline, f"took longer than {LONGEST:g} s: {self.words}"
            if kill is not None and start is None and self.written:
                start = time.monotonic()
            if start is not None and self._is_moment(kill, time.monotonic() - start):
                self._send(kill)
                kill = start = None
            time.sleep(0.0005 if start and kill.files else 0.01)
        return self.process.returncode

    def _send(self, kill):
        if kill.group:
            os.killpg(self.process.pid, kill.number)
        else:
            self.process.send_signal(kill.number)

    def _has(self, files):
        # Before Python 3.13 a folder that is renamed while it is searched is an error.
        with suppress(FileNotFoundError):
            return any(self.folder.glob(files))
        return False

    def _is_moment(self, kill, seconds):
        if kill.files and self._has(kill.files):
            return True
        return seconds >= kill.seconds or (kill.text and any(kill.text in line for line in self.written))


def killed_and_resumed(words, folder, kills, *, resume=("--resume",)):
    """Start a command, kill it as often as ``kills`` has entries, and resume it each time; then let it end.

    Args:
        words: Those of the command.
        folder: Where it works.
        kills: The kills; one that comes after the command's end counts for nothing.
        resume: Added to the words from the second time on.

    Returns:
        How many of the kills met a process that was running, and the last lines after signals that can be answered.
    """
    lines = []
    for number, kill in enumerate([*kills, None]):
        with Command([*words, *(resume if number else ())], folder) as command:
            code = command.wait(kill)
        if code == 0:
            return number, lines
        assert kill is not None, (code, command.written)
        # After its last line Python itself is ending, and dies of any signal, or only its launcher; all is done then.
        ended = any(
            line.startswith(LAST_LINES) or line.endswith("is complete already") for line in command.written[-3:]
        )
        late = ended and (code == -kill.number or "stopped" not in command.written[-1])
        assert late or code == (-kill.number if kill.number == signal.SIGKILL else 130), (code, kill, command.written)
        assert not any("Traceback" in line for line in command.written), command.written
        if kill.number != signal.SIGKILL and not late:
            lines.append(command.written[-1])
    raise AssertionError(f"was not done at the end: {lines_of(folder)[-5:]}")


def lines_of(folder):
    path = folder / "output.txt"
    return path.read_text().splitlines() if path.is_file() else []


def random_kills(count, seconds, seed):
    """Draw signals, and moments within some seconds."""
    generator = random.Random(seed)
    return [Kill(generator.choice(SIGNALS), generator.uniform(0, seconds)) for _ in range(count)]


def contents(folder):
    """Everything that counts of complete runs, kept teachers and caches below a folder; times and logs do not."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == "summary.json" and (path.parent / "student.safetensors").is_file():
            found[name] = summary(path.parent)
        elif path.name == "metrics.csv":
            found[name] = rows(path)
        elif path.suffix == ".safetensors":
            found[name] = tensors_of(path)
        elif path.suffix == ".bin":
            found[name] = path.read_bytes()
        elif path.name == "table.csv":
            found[name] = rows(path)
    return found


def tensors_of(path):
    """Tensors byte for byte, and the file's entries about them, which have no order."""
    with safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        shapes = {name: (values.dtype.str, values.shape, values.tobytes()) for name, values in tensors.items()}
        return shapes, file.metadata()


def rows(path):
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES and "second" not in k} for row in csv.DictReader(file)]


def leftovers(folder):
    """What a killed process left half-written."""
    return list(Path(folder).rglob("*.partial*"))


def assert_equal_contents(one, other):
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys(), first.keys() ^ second.keys()
    assert first, one
    for name, value in first.items():
        assert value == second[name], name
