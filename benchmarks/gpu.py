"""Everything that a borrowed GPU is for, in one command that can be stopped and repeated; see GPU.md.

    python benchmarks/gpu.py pack                                # here: what travels, in pieces of less than 64 MiB
    python3 benchmarks/gpu.py run --back OUT                     # there, with a piece below .gpu/; again with the next
    python benchmarks/gpu.py collect OUT/limbeck-gpu.tar.gz      # here: results into benchmarks/results/
    .venv/bin/python benchmarks/gpu.py run --rehearse            # every stage on a CPU, with little data

``run`` does the stages in their order, each as a process of its own, until the minutes are over. What it has done is
kept in the folder --work, so that the same command goes on where the last one stopped; a stage whose results are in
benchmarks/results/ already is left out (--again: it is not). Nothing is installed on the machine but below --work.
"""

import argparse
import shutil
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# On the machine with the GPU only the standard library is there before the first piece is unpacked.
from gpu_runner import Runner
from gpu_stages import STAGES

TREE = Path(__file__).parents[1]


def run(args: argparse.Namespace) -> int:
    """Do the stages that are left, and return 0 if none of them failed."""
    # What was rehearsed is not done.
    work = args.work / "rehearsal" if args.rehearse else args.work
    runner = Runner(work, rehearse=args.rehearse, minutes=args.minutes, back=args.back, again=args.again)
    runner.unpack(sorted(args.pieces.iterdir()) if args.pieces.is_dir() else [])
    names = args.only or [stage.name for stage in STAGES]
    return runner.run([stage for stage in STAGES if stage.name in names])


def pack(args: argparse.Namespace) -> int:
    """Write the pieces, and print their sizes."""
    from gpu_pack import pack as write

    for piece in write(args.pieces):
        print(piece.line)
    return 0


def collect(args: argparse.Namespace) -> int:
    """Put results that came back where they are committed."""
    for archive in args.archives:
        with tarfile.open(archive) as opened:
            # Python has filters from 3.11.4 on.
            safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            opened.extractall(args.work / "collected", **safe)
        # A rehearsal's results carry a CPU's name, as those measured on one do.
        for path in sorted((args.work / "collected" / "results").glob("*-cuda*")):
            shutil.copy(path, TREE / "benchmarks" / "results" / path.name)
            print(f"benchmarks/results/{path.name}")
    return 0


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/tmp/limbeck-gpu"), help="the folder of all that is made")
    parser.add_argument("--pieces", type=Path, default=TREE / ".gpu", help="the folder of the pieces")
    commands = parser.add_subparsers(required=True)
    commands.add_parser("pack", help="write what travels").set_defaults(do=pack)
    running = commands.add_parser("run", help="do the stages that are left")
    running.set_defaults(do=run)
    running.add_argument("--minutes", type=float, default=9.0, help="end within these")
    running.add_argument("--back", type=Path, help="the folder of what comes back, written after every stage")
    running.add_argument("--rehearse", action="store_true", help="on a CPU, with little data")
    running.add_argument("--again", action="store_true", help="also stages whose results are recorded")
    running.add_argument("--only", type=lambda word: word.split(","), help="stages by name")
    collecting = commands.add_parser("collect", help="put results where they are committed")
    collecting.set_defaults(do=collect)
    collecting.add_argument("archives", type=Path, nargs="+")
    return parser.parse_args(words)


def main() -> int:
    """Do what the command line names."""
    args = arguments()
    status: int = args.do(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
