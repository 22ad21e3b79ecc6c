"""On a machine with a GPU: pieces are unpacked, stages run until the minutes are over, results go back after each."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from gpu_stages import Stage, filled, named

TREE = Path(__file__).parents[1]
RECORDED = TREE / "benchmarks" / "results"
# Seconds that a stopped stage has to end by itself, and that a command needs before it looks at its clock.
GRACE, START = 15, 10
# The exit status of a command whose time was over, which the same one resumes; and of one that took too long.
STOPPED, TOO_LONG = 75, 124
TARS = ("cifar100-train-1.tar", "cifar100-train-2.tar", "cifar100-test.tar")


def code_digest() -> str:
    """Return a digest of the code that is measured and of what measures it."""
    digest = hashlib.sha256()
    for path in sorted([*(TREE / "src").rglob("*.py"), *(TREE / "benchmarks").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def is_installed(name: str) -> bool:
    """Return whether a package is there, with its metadata."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


class Runner:
    """What is done and what is left, in a folder that outlasts a command.

    Args:
        work: The folder.
        rehearse: Whether a CPU stands for the GPU.
        minutes: When the command ends.
        back: Where the results go after every stage; None for nowhere.
        again: Whether stages run whose results are recorded in the working tree.
    """

    def __init__(self, work: Path, *, rehearse: bool, minutes: float, back: Path | None, again: bool) -> None:
        self.work, self.rehearse, self.back, self.again = work, rehearse, back, again
        self.end = time.monotonic() + 60 * minutes
        for name in ("results", "logs", "site", "shared/data"):
            (work / name).mkdir(parents=True, exist_ok=True)
        self.state: dict[str, Any] = self._read("state.json")
        self.code = code_digest()

    def _read(self, name: str) -> dict[str, Any]:
        path = self.work / name
        content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return content

    @property
    def minutes(self) -> float:
        """The minutes that are left, without those in which a stopped stage ends."""
        return (self.end - time.monotonic() - GRACE) / 60

    @property
    def shared(self) -> Path | None:
        """The folder whose data/ has all of CIFAR-100: that of the pieces, or the one of LIMBECK_SHARED."""
        folders = [self.work / "shared", Path(os.environ.get("LIMBECK_SHARED") or self.work)]
        return next((one for one in folders if all((one / "data" / name).is_file() for name in TARS)), None)

    def unpack(self, pieces: Sequence[Path]) -> None:
        """Take what pieces hold: packages, data, and the commit that they were packed at."""
        for piece in pieces:
            if (piece / "data").is_dir():
                shutil.copytree(piece / "data", self.work / "shared/data", dirs_exist_ok=True)
            if (piece / "site").is_dir():
                shutil.copytree(piece / "site", self.work / "site", dirs_exist_ok=True)
            if (piece / "about.json").is_file():
                shutil.copy(piece / "about.json", self.work / "about.json")
            wheels = sorted((piece / "wheels").glob("*.whl"))
            if wheels and not (self.work / "installed").is_file():
                self._install(wheels)
        self._join(self.work / "shared/data")
        print(f"{len(pieces)} pieces; {'not all' if self.shared is None else 'all'} of CIFAR-100 is there")
        if not (self.work / "installed").is_file() and not is_installed("pydantic"):
            raise SystemExit("limbeck's packages are not there: expected the first piece of `gpu.py pack` below .gpu/")

    @staticmethod
    def _join(folder: Path) -> None:
        for head in folder.glob("*.head"):
            tail = head.with_suffix(".tail")
            if tail.is_file():
                head.with_suffix("").write_bytes(head.read_bytes() + tail.read_bytes())

    def _install(self, wheels: Sequence[Path]) -> None:
        lacking = [str(wheel) for wheel in wheels if not is_installed(wheel.name.partition("-")[0])]
        if lacking:
            options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir"]
            target = ["--target", str(self.work / "site")]
            subprocess.run([sys.executable, "-m", "pip", "install", *options, *target, *lacking], check=True)
        (self.work / "installed").touch()

    def environment(self) -> dict[str, str]:
        """Return the environment of the stages."""
        added = {
            "PYTHONPATH": os.pathsep.join([str(TREE / "src"), str(self.work / "site")]),
            "LIMBECK_RESULTS": str(self.work / "results"),
            "LIMBECK_CACHE": str(self.work / "cache"),
            "LIMBECK_COMMIT": self._read("about.json").get("commit", ""),
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        added |= {"LIMBECK_REHEARSAL": "1"} if self.rehearse else {}
        added |= {} if self.shared is None else {"LIMBECK_SHARED": str(self.shared)}
        return {**os.environ, **added}

    def run(self, stages: Sequence[Stage]) -> int:
        """Do the stages that are left, as far as the minutes go; return 0 if none failed."""
        self._take_ledgers()
        for number, stage in enumerate(stages, start=1):
            print(f"[{number}/{len(stages)}] {stage.name}: {self._line(stage)}", flush=True)
            self._send_back()
        states = {stage.name: self.state[stage.name]["state"] for stage in stages}
        failed = [name for name, state in states.items() if state == "failed"]
        left = [name for name, state in states.items() if state in ("waiting", "unfinished")]
        print(f"left: {', '.join(left) or 'nothing'}; failed: {', '.join(failed) or 'none'}", flush=True)
        return int(bool(failed))

    def _take_ledgers(self) -> None:
        # Rows of earlier times are in the working tree, and are not trained again.
        for path in () if self.rehearse else RECORDED.glob("*-cuda*.jsonl"):
            if not (self.work / "results" / path.name).is_file():
                shutil.copy(path, self.work / "results" / path.name)

    def _line(self, stage: Stage) -> str:
        """Do a stage, keep its state, and return that in words."""
        known = self.state.setdefault(stage.name, {"state": "waiting", "done": [], "failed": {}, "seconds": 0.0})
        if known["state"] == "finished":
            return "finished before"
        if not (self.again or self.rehearse) and named(stage.results, RECORDED):
            known["state"] = "recorded"
            return "its results are recorded in benchmarks/results already"
        if stage.data and self.shared is None:
            return "waits for the other piece of CIFAR-100"
        if self.minutes < stage.least:
            return f"waits: {max(0.0, self.minutes):.1f} minutes are left, it needs {stage.least:g}"
        return self._do(stage, known)

    def _do(self, stage: Stage, known: dict[str, Any]) -> str:
        start, end = time.monotonic(), min(self.end - GRACE, time.monotonic() + 60 * stage.minutes)
        commands = stage.rehearsal if self.rehearse else stage.commands
        # What failed is no reason to leave out the commands behind it; where the time is over, they wait.
        for place, words in enumerate(commands):
            if place not in known["done"] and known["failed"].get(str(place)) != self.code:
                self._keep(known, str(place), self._command(stage, words, end))
        waits = len(commands) - len(known["done"]) - len(known["failed"])
        known["state"] = "unfinished" if waits else "failed" if known["failed"] else "finished"
        known["seconds"] = round(known["seconds"] + time.monotonic() - start, 1)
        return f"{known['state']}, {known['seconds']:.0f} s in all; {self.work / 'logs' / stage.name}.txt"

    def _keep(self, known: dict[str, Any], place: str, status: int) -> None:
        known["failed"].pop(place, None)
        if status == 0:
            known["done"].append(int(place))
        elif status != STOPPED:
            # It fails again until the code is another one.
            known["failed"][place] = self.code

    def _command(self, stage: Stage, words: Sequence[str], end: float) -> int:
        """Run a command until the time is over, and return its exit status."""
        left = end - time.monotonic()
        if left <= 0:
            return STOPPED
        # What the end of all minutes stops is repeated; what its own limit stops would be stopped again.
        when_stopped = STOPPED if end >= self.end - GRACE else TOO_LONG
        # A command that stops by itself needs time to begin, and to write what it has.
        minutes = max(0.0, left - START) / 60
        places = {"work": self.work, "results": self.work / "results", "minutes": f"{minutes:.2f}"}
        command = [sys.executable, *filled(words, {key: str(value) for key, value in places.items()})]
        with (self.work / "logs" / f"{stage.name}.txt").open("a") as log:
            log.write(f"\n$ {' '.join(command)}\n")
            log.flush()
            with subprocess.Popen(
                command, cwd=TREE, env=self.environment(), stdout=log, stderr=log, start_new_session=True
            ) as process:
                return _ended(process, left, when_stopped)

    def _send_back(self) -> None:
        (self.work / "state.json").write_text(json.dumps(self.state, indent=2) + "\n")
        if self.back is None:
            return
        self.back.mkdir(parents=True, exist_ok=True)
        with tarfile.open(self.back / "limbeck-gpu.tar.gz", "w:gz") as archive:
            for name in ("results", "logs", "state.json"):
                archive.add(self.work / name, arcname=name)


def _ended(process: "subprocess.Popen[bytes]", seconds: float, when_stopped: int) -> int:
    """Wait for a process, and stop all that it started when the time is over; return its exit status, or this one."""
    try:
        return process.wait(seconds + GRACE / 3)
    except subprocess.TimeoutExpired:
        pass
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(GRACE / 3)
        except (subprocess.TimeoutExpired, ProcessLookupError):
            continue
    return when_stopped
