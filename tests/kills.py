"""Commands as processes that are killed at chosen or random moments, and resumed until they are done."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from stopped_runs import TIMES, summary

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Written by every run, and compared byte for byte.
WHOLE = ("student.safetensors", "predictions.safetensors", "recipe.yaml")
LONGEST = 300.0
# Processes that are started from one in the background ignore Ctrl-C.
PROGRAM = """import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("limbeck", run_name="__main__", alter_sys=True)"""


class Kill(NamedTuple):
    """A signal at a moment of a command.

    Attributes:
        number: The signal.
        seconds: How long after ``begun`` at the latest.
        files: The moment a file of this pattern appears below the folder, if that comes first; "" for none.
    """

    number: int
    seconds: float
    files: str = ""


class Command:
    """A command of ``limbeck``, as a process of a group of its own that has the usual handlers of signals.

    Args:
        words: The command's words.
        folder: Where it works; its output goes to ``output.txt`` there.
    """

    def __init__(self, words, folder):
        self.words, self.folder, self.output = [str(word) for word in words], folder, folder / "output.txt"

    def __enter__(self):
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

    def wait(self, begun, kill=None):
        """Wait for the end, or for the moment of ``kill``, then send it; ``begun()`` is when its seconds begin."""
        deadline, start = time.monotonic() + LONGEST, None
        while self.running:
            assert time.monotonic() < deadline, f"took longer than {LONGEST:g} s: {self.words}"
            if start is None and (kill is None or begun()):
                start = time.monotonic()
            if kill is not None and start is not None and self._is_moment(kill, time.monotonic() - start):
                self.process.send_signal(kill.number)
                kill = None
            time.sleep(0.0005 if kill and kill.files else 0.01)
        return self.process.returncode

    def _is_moment(self, kill, seconds):
        return seconds >= kill.seconds or (kill.files and any(self.folder.rglob(kill.files)))


def killed_and_resumed(words, folder, kills, *, begun, resume=("--resume",)):
    """Start a command, kill it as often as ``kills`` has entries, and resume it each time; then let it end.

    Args:
        words: Those of the command.
        folder: Where it works.
        kills: The kills; one that comes after the command's end counts for nothing.
        begun: Called until it is true; then the seconds of a kill begin.
        resume: Added to the words from the second time on.

    Returns:
        How many of the kills met a process that was running, and the lines that their signals caused.
    """
    lines = []
    for number, kill in enumerate([*kills, None]):
        before = lines_of(folder)
        with Command([*words, *(resume if number else ())], folder) as command:
            code = command.wait(begun, kill)
        if code == 0:
            return number, lines
        allowed = {-kill.number} if kill and kill.number == signal.SIGKILL else {130} if kill else {0}
        written = lines_of(folder)[len(before) :]
        # A signal that comes before the command line has its handlers ends the process as it ends any.
        assert code in allowed | ({-kill.number, 1} if not begun() else set()), (code, kill, written)
        if kill and kill.number != signal.SIGKILL and begun():
            assert not any("Traceback" in line for line in written), written
            lines.append(written[-1])
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
        elif path.suffix in (".safetensors", ".bin"):
            found[name] = path.read_bytes()
        elif path.name == "table.csv":
            found[name] = rows(path)
    return found


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
