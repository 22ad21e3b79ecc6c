"""``limbeck export``."""

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.options import Quiet, Verbose
from limbeck.cli.students import TaskName, TrustCode
from limbeck.errors import UserError

Run = Annotated[Path, typer.Argument(help="A run's folder, or a student's file.", show_default=False, metavar="RUN")]


def export(
    run: Run,
    format: Annotated[str, typer.Option("--format", help="onnx, torch-export (.pt2) or safetensors.")] = "onnx",
    out: Annotated[
        Path | None, typer.Option("--out", help="The file; by default the run's name.", show_default=False)
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Give probabilities, with the temperature inside, not logits.")
    ] = False,
    classes: Annotated[bool, typer.Option("--classes", help="Give classes, or maps of them, not logits.")] = False,
    preprocessing: Annotated[
        bool, typer.Option("--preprocessing", help="Take raw pixels, or cells of a table.")
    ] = False,
    pixels: Annotated[str, typer.Option(help="Which pixels: uint8 (0 to 255) or float (0 to 1).")] = "uint8",
    int8: Annotated[
        bool, typer.Option("--int8", help="Write NAME.int8.onnx, too, and measure what it costs in accuracy.")
    ] = False,
    calibration: Annotated[int, typer.Option(help="Training samples that decide the ranges of 8-bit numbers.")] = 256,
    tolerance: Annotated[
        float, typer.Option(help="The largest difference from PyTorch, as a share of the largest logit.")
    ] = 1e-4,
    random_inputs: Annotated[
        bool, typer.Option("--random-inputs", help="Verify on random inputs, where the run's data are gone.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    task: TaskName = None,
    trust: TrustCode = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a student as a file for other programs, verified against PyTorch."""
    from limbeck.cli.console import BEGIN_AGAIN, showing
    from limbeck.export import export_student

    if probabilities and classes:
        raise UserError("--probabilities and --classes: got both, expected one of them")
    with showing(quiet=quiet, verbose=verbose, how=BEGIN_AGAIN) as shown:
        done = export_student(
            run,
            out,
            format=format,  # type: ignore[arg-type]
            result="probabilities" if probabilities else "classes" if classes else "logits",
            preprocessing=preprocessing,
            pixels=pixels,  # type: ignore[arg-type]
            int8=int8,
            calibration_samples=calibration,
            tolerance=tolerance,
            random_inputs=random_inputs,
            overwrite=overwrite,
            task=task,
            trust=trust,
            log=shown.reporting.log,
        )
    if quiet:
        for file in done.files:
            shown.console.print(str(file), highlight=False, markup=False, soft_wrap=True)


def speed(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", show_default=False, metavar="RUN...")],
    int8: Annotated[bool, typer.Option("--int8/--no-int8", help="Measure students in 8-bit numbers, too.")] = True,
    threads: Annotated[
        int | None, typer.Option(help="Threads that compute.", show_default="as many as PyTorch uses")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long each latency is measured.")] = 2.0,
    calibration: Annotated[int, typer.Option(help="Training samples that decide the ranges of 8-bit numbers.")] = 256,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw accuracy against latency to a .png or .svg.", show_default=False)
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    trust: TrustCode = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure students, exported students and their teachers on this machine: one table."""
    from limbeck.cli.console import BEGIN_AGAIN, showing
    from limbeck.export import measure_speed, save_speed_plot
    from limbeck.export.speed_plot import check_plot
    from limbeck.report import to_markdown, to_rich

    if plot is not None:
        check_plot(plot)
    with showing(quiet=quiet, verbose=verbose, how=BEGIN_AGAIN) as shown:
        speeds = measure_speed(
            runs,
            int8=int8,
            threads=threads,
            seconds=seconds,
            calibration_samples=calibration,
            trust=trust,
            log=shown.reporting.log,
        )
    if markdown:
        print(to_markdown(speeds.cells(), speeds.notes[0]), end="")
    else:
        shown.console.print(to_rich(speeds.cells(), "On this machine"))
    for note in speeds.notes[1:] if markdown else speeds.notes:
        shown.console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    if plot is not None:
        shown.console.print(f"plot: {save_speed_plot(speeds, plot)}", highlight=False, markup=False, soft_wrap=True)
