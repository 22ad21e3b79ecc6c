"""The ``limbeck`` command."""

import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from limbeck.cli.cache import app as cache
from limbeck.cli.export import export, speed
from limbeck.cli.inspecting import advise, check, report
from limbeck.cli.options import CONTINUE, Stopped, make_console
from limbeck.cli.students import evaluate, predict
from limbeck.cli.training import compare, run, search
from limbeck.errors import RunError, UserError, first_line, shortened

_LINE_LENGTH = 1900
app = typer.Typer(
    name="limbeck",
    help="Knowledge distillation: train a small network from a strong, an unreliable, a tiny or no teacher.",
    epilog="Examples:  limbeck compare quickstart  |  limbeck run quickstart method=dist training.epochs=5  |"
    "  limbeck methods dr_kd",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(cache, name="cache")


def _show_version(is_set: bool) -> None:
    if is_set:
        from importlib.metadata import version

        print(f"limbeck {version('limbeck')}, torch {version('torch')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the versions and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.command(
    epilog="Examples:  limbeck run quickstart  |  limbeck run recipe.yaml method=lr+dist seed=1 --out runs/first  |"
    "  limbeck run recipe.yaml --out runs/first --resume  |  limbeck run --replay runs/first"
)(run)
app.command(
    epilog="Examples:  limbeck compare quickstart  |"
    "  limbeck compare recipe.yaml --methods none,kd,dist,lr+dist --seeds 3 --out runs/table  |"
    "  limbeck compare recipe.yaml --seeds 5 --on ray://head:10001  |"
    "  limbeck compare recipe.yaml --methods kd,kd@hot compare.settings.kd@hot.temperature=8"
)(compare)
app.command(
    epilog="Examples:  limbeck search quickstart  |  limbeck search recipe.yaml --methods kd,dist --runs 48  |"
    "  limbeck search recipe.yaml --minutes 30 search.settings.kd.temperature=[1,2,4,8]  |"
    "  limbeck search recipe.yaml --on ray"
)(search)
app.command(epilog="Examples:  limbeck check quickstart  |  limbeck check recipe.yaml training.epochs=100")(check)
app.command(
    epilog="Examples:  limbeck advise quickstart  |  limbeck advise recipe.yaml --student-epochs 10 --reliability"
)(advise)
app.command(
    epilog="Examples:  limbeck report runs/quickstart-compare  |  limbeck report runs/kd runs/dist --out both.html"
)(report)
app.command(
    epilog="Examples:  limbeck predict runs/first photos/  |  limbeck predict student.safetensors a.jpg --top-k 3  |"
    "  limbeck predict runs/text new.csv --format jsonl --out predictions.jsonl"
)(predict)
app.command(
    epilog="Examples:  limbeck evaluate runs/first --out runs/first-evaluated  |"
    "  limbeck evaluate student.safetensors data.name=image_folder data.root=photos --split all  |"
    "  limbeck evaluate quickstart --teacher"
)(evaluate)
app.command(
    epilog="Examples:  limbeck export runs/first  |  limbeck export runs/first --preprocessing --probabilities"
    " --out student.onnx  |  limbeck export runs/first --int8 --calibration 512"
)(export)
app.command(epilog="Examples:  limbeck speed runs/first  |  limbeck speed runs/a runs/b --threads 1 --plot speed.png")(
    speed
)


@app.command(epilog="Examples:  limbeck methods  |  limbeck methods lr_ds  |  limbeck methods lr_ds --markdown")
def methods(
    name: Annotated[str | None, typer.Argument(help="A method or component.", show_default=False)] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print cards as Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print cards as JSON.")] = False,
) -> None:
    """List the methods, those of installed plug-ins too, or print one method's card."""
    from limbeck.cli.card_pages import as_markdown, card, card_markdown, overview
    from limbeck.cli.cards import as_text, find, read_cards

    cards = read_cards(_print_error) if name is None else {name: find(name, _print_error)}
    if as_json:
        print(as_text(cards), end="")
    elif markdown:
        print(as_markdown(cards) if name is None else card_markdown(cards[name]), end="")
    else:
        make_console().print(overview(cards) if name is None else card(cards[name]))


def _print_error(line: str) -> None:
    text = shortened(" ".join(line.splitlines()), _LINE_LENGTH, quoted=False)
    print(f"limbeck: {text}", file=sys.stderr)


@app.command(epilog="Examples:  limbeck recipes  |  limbeck recipes own-images > mine.yaml")
def recipes(
    name: Annotated[str | None, typer.Argument(help="A packaged recipe.", show_default=False)] = None,
) -> None:
    """List the packaged recipes, or print one, to begin a recipe of your own with."""
    from limbeck.recipes import packaged, read_recipe

    if name is not None:
        print(read_recipe(name)[1], end="")
        return
    width = max(map(len, packaged()))
    for recipe in packaged():
        print(f"{recipe:<{width}}  {read_recipe(recipe)[1].splitlines()[0].removeprefix('# ')}")


def main() -> None:
    """Run the command line: exit code 0, 2 for a user's mistake, 1 for a failure."""
    # A file name may hold bytes that are no text.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(prog_name="limbeck", standalone_mode=False)
        sys.stdout.flush()
        _leave_processes()
    except UserError as error:
        code = _failed(error, 2)
    except RunError as error:
        code = _failed(error, 1)
    except (Stopped, KeyboardInterrupt) as stop:
        code = _failed(f"stopped; {str(stop) or CONTINUE}", 130)
    except BrokenPipeError:
        # The reader of the output, such as head, has closed it; nothing can be flushed there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        code = _other_error(error)
    sys.exit(code)


def _failed(message: object, code: int) -> int:
    if not _others_report(message):
        _print_error(str(message))
    return code


def _others_report(error: object) -> bool:
    """Return whether another process of a training prints the line: each mistake has one."""
    if "torch" not in sys.modules:
        return False
    from torch import distributed as dist

    from limbeck.ranks import is_first
    from limbeck.training.processes import LostProcessError

    if isinstance(error, LostProcessError):
        # A launcher of limbeck itself reports which process was killed.
        return "LIMBECK_LAUNCHED" in os.environ or not is_first()
    # Before the processes have met, all of them find the same mistakes.
    met = dist.is_available() and dist.is_initialized()
    return not is_first() and (not met or isinstance(error, str))


def _leave_processes() -> None:
    """End the connection with the other processes of a training, if there are some."""
    if "torch" in sys.modules:
        from torch import distributed as dist

        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def _other_error(error: Exception) -> int:
    """Print an error of memory, files or the command itself as one line; raise anything else."""
    if isinstance(error, RecursionError):
        return _failed("something given is nested too deeply, expected a few levels", 2)
    if isinstance(error, MemoryError):
        return _failed("the memory is full", 1)
    # torch's own, which is not imported for this.
    if type(error).__name__ == "OutOfMemoryError":
        return _failed(f"the device's memory is full ({error}), try a smaller training.batch_size", 1)
    if "DefaultCPUAllocator" in str(error):
        return _failed(f"the memory is full ({first_line(error)}), try smaller batches", 1)
    if isinstance(error, OSError) and error.strerror:
        name = f"{shortened(str(error.filename), 500, quoted=False)}: " if error.filename else ""
        return _failed(f"{name}{error.strerror}", 1)
    return _usage_error(error)


def _usage_error(error: Exception) -> int:
    """Print an error of the command itself as one line; the kind of exception depends on typer's version."""
    if not hasattr(error, "format_message"):
        raise error
    message, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    # Without a message the help was shown instead.
    if not message:
        return 2
    return _failed(f"{message}; see {context.command_path if context else 'limbeck'} --help", 2)
