"""The commands about trained students: ``limbeck predict`` and ``limbeck evaluate``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck.cli.options import Quiet, Verbose
from limbeck.errors import UserError

TrustCode = Annotated[
    bool, typer.Option("--trust", help="Let the file name python: functions from outside the working folder.")
]
TaskName = Annotated[
    str | None, typer.Option("--task", help="The task, of files of earlier versions.", show_default=False)
]
StudentFile = Annotated[
    Path, typer.Argument(help="student.safetensors, or the folder of a run.", show_default=False, metavar="STUDENT")
]


def predict(
    student: StudentFile,
    paths: Annotated[
        list[Path],
        typer.Argument(help="Images and folders of them, or one file of texts or rows.", show_default=False),
    ],
    form: Annotated[
        Literal["csv", "jsonl"] | None, typer.Option("--format", help="csv or jsonl.", show_default="csv")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file to write; for segmentation a new folder.", show_default=False),
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Classes of each sample.", show_default="1")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Samples at a time.", show_default="the run's")
    ] = None,
    task: TaskName = None,
    trust: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Predict images, texts or rows of a table by a trained student."""
    from limbeck.cli.console import stoppable
    from limbeck.files import write_atomically
    from limbeck.students import load
    from limbeck.students.predicting import predict as predict_files
    from limbeck.students.written import as_text

    loaded = load(student, task=task, trust=trust)
    segments, detects = loaded.task.name == "segmentation", loaded.task.name == "detection"
    if detects and form == "csv":
        raise UserError("--format: got csv, but an image has any number of boxes, expected jsonl")
    if out is not None and not segments:
        _check_out(out, paths)
    folder = out if segments else None
    with stoppable():
        found = predict_files(loaded, paths, top_k=top_k, skip_bad=skip_bad, batch_size=batch_size, out=folder)
    text = as_text(found.rows, form or ("jsonl" if detects else "csv"))
    if out is None or segments:
        sys.stdout.write(text)
    else:
        write_atomically(out, text)
    lines = list(loaded.notes)
    lines += [f"{found.others} other files in the folders are no images"] if found.others else []
    for line in [] if quiet else lines:
        print(f"limbeck: {line}", file=sys.stderr)
    if found.skipped:
        print(f"limbeck: skipped {len(found.skipped)} of {len(found.rows) + len(found.skipped)}:", file=sys.stderr)
        for reason in found.skipped.values():
            print(f"  {reason}", file=sys.stderr)


def _check_out(out: Path, paths: list[Path]) -> None:
    special = out.exists() and not out.is_file()
    if special or not out.absolute().parent.is_dir():
        got = f"the folder {out.parent} does not exist"
        if special:
            got = "is a folder" if out.is_dir() else "is no regular file"
        raise UserError(f"--out {out}: {got}, expected a file to write")
    if any(path.exists() and out.exists() and out.samefile(path) for path in paths):
        raise UserError(f"--out {out}: is one of the files that are read, expected another")


def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            help="The folder of a run, student.safetensors, or with --teacher a recipe.",
            show_default=False,
            metavar="TARGET",
        ),
    ],
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE] [KEY=VALUE]...",
            help="A recipe with other data, and values of the data, such as data.root=photos.",
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="test, validation, train, or all.")] = "test",
    teacher: Annotated[bool, typer.Option("--teacher", help="Measure the teacher, which has been trained.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="A folder for JSON and CSV files of it all.", show_default=False)
    ] = None,
    worst: Annotated[int, typer.Option("--worst", help="How many of the largest losses.")] = 10,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Samples at a time.", show_default="the run's")
    ] = None,
    task: TaskName = None,
    trust: TrustCode = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure a student or a teacher on labeled data: figures, classes, calibration, confusions, worst samples."""
    from limbeck.cli.console import BEGIN_AGAIN, showing
    from limbeck.recipes.loading import parse_overrides
    from limbeck.report.evaluation import check_folder
    from limbeck.runs.evaluate import evaluate as evaluate_target

    recipes = [word for word in given or [] if "=" not in word]
    if len(recipes) > 1:
        raise UserError(f"{recipes[1]}: expected one recipe at most, and KEY=VALUE")
    if out is not None:
        check_folder(out)
    with showing(quiet=quiet, verbose=verbose, how=BEGIN_AGAIN) as shown:
        found = evaluate_target(
            target,
            recipes[0] if recipes else None,
            overrides=parse_overrides([word for word in given or [] if "=" in word]),
            split=split,
            teacher=teacher,
            worst=worst,
            batch_size=batch_size,
            task=task,
            trust=trust,
            reporting=shown.reporting,
        )
    if out is not None:
        found.write(out)
    for line in [f"{found.split} {found.line}"] if quiet else found.lines:
        shown.console.print(line, highlight=False, markup=False, soft_wrap=True)
