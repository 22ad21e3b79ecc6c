"""What long commands show: at 80 columns, without a terminal, quietly and verbosely."""

import io
import json
import logging
import os
import signal

import pytest
from rich.console import Console

from error_rate import ErrorRate
from limbeck.cli import console as shown
from limbeck.cli.console import LiveProgress, Overall, logged, make_bars, showing
from limbeck.errors import UserError
from limbeck.tasks import Classification
from limbeck.training import EpochMeter, Position, Wording


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(shown.time, "monotonic", lambda: self.now)


def test_the_time_left_is_whole_at_eighty_columns():
    console = Console(width=80, force_terminal=True, file=io.StringIO(), record=True)
    now = [0.0]
    bars = make_bars(console)
    bars.get_time = lambda: now[0]
    LiveProgress(console, bars)._show(Position(0, 300, 0, 100), "")
    overall = Overall(console, bars=bars)
    overall.tick(0, 1500)
    for step in range(1, 40):
        now[0] = 60.0 * step
        figures = "kd 1.234  adversarial 0.123  label_revision 2.345  accuracy 81.3%  12345 images/s"
        bars.update(bars.tasks[0].id, description="epoch 123/300", completed=40 * step, figures=figures)
        overall.tick(step, 1500)
    console.print(bars.get_renderable())
    lines = [line for line in console.export_text().splitlines() if line.strip()]
    assert len(lines) == 2
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("epoch 123/300 ")
    assert "11:51:00" in lines[0]
    assert "kd 1.234" in lines[0]
    assert lines[1].startswith("all runs: 39/1,500 epochs ")
    assert "24:21:00" in lines[1]


def test_a_line_now_and_then_without_a_terminal(monkeypatch):
    clock = Clock(monkeypatch)
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    overall = Overall(console)
    for seconds in range(0, 100, 5):
        clock.now = 1000.0 + seconds
        overall.tick(seconds // 10, 60)
    assert console.file.getvalue().splitlines() == [
        "all runs: 3/60 epochs, about 10 min left",
        "all runs: 6/60 epochs, about 9 min left",
        "all runs: 9/60 epochs, about 8 min left",
    ]


def test_a_quiet_run_prints_its_result_alone(limbeck, tiny, tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(tiny))
    code, out, err = limbeck("run", path, "training.epochs=1", "--out", tmp_path / "r", "--quiet")
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert out.startswith("test accuracy ")
    code, out, err = limbeck("run", path, "--out", tmp_path / "q", "--quiet", "--verbose")
    assert (code, out, err) == (2, "", "limbeck: --quiet and --verbose: got both, expected one of them\n")


def test_loggers_are_printed_with_verbose(capsys):
    logger = logging.getLogger("limbeck.runs.anything")
    logger.warning("nothing is printed by the library itself")
    with logged(verbose=False):
        logger.info("too much")
        logger.warning("a warning")
    with logged(verbose=True):
        logger.debug("a detail")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("WARNING limbeck.runs.anything: a warning")
    assert lines[1].endswith("DEBUG limbeck.runs.anything: a detail")


def test_quiet_and_verbose_are_one_or_the_other():
    with pytest.raises(UserError, match="--quiet and --verbose: got both"), showing(quiet=True, verbose=True):
        pass


def test_figures_while_an_epoch_runs_are_the_tasks():
    means = {"loss": 1.5, "ce": 0.5, "kd": 1.0, "error": 0.125}
    wording = Wording(ErrorRate.metrics)
    assert shown._figures(means, 99.6, wording) == "loss 1.500  ce 0.500  kd 1.000  error rate 12.5%  100 samples/s"
    means, wording = {"loss": 1.5, "ce": 1.5, "accuracy": 0.813}, Wording(Classification.metrics, "images")
    assert shown._figures(means, 12345, wording) == "loss 1.500  ce 1.500  accuracy 81.3%  12345 images/s"


def test_the_line_of_an_epoch_has_the_wording_of_its_training():
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    progress = LiveProgress(console)
    progress.step(Position(0, 1, 1, 1), EpochMeter(Wording(ErrorRate.metrics, "sentences")))
    row = {"epoch": 1, "train.loss": 1.0, "train.error": 0.5, "test.error": 0.25, "samples_per_second": 9, "seconds": 2}
    progress.epoch(row, 1)
    line = "epoch 1/1  loss 1.0000  train 50.00 %  test 25.00 %  9 sentences/s  2.0 s\n"
    assert console.file.getvalue() == line


@pytest.fixture
def _interruptible():
    """Let SIGINT raise, also where these tests run in the background of a shell, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize(
    ("place", "words", "how"),
    [
        ("limbeck.advice.advise", ["advise", "quickstart"], "the same command continues"),
        ("limbeck.runs.check", ["check", "quickstart"], "the same command begins anew"),
        ("limbeck.runs.evaluate.evaluate", ["evaluate", "run"], "the same command begins anew"),
        ("limbeck.export.export_student", ["export", "run"], "the same command begins anew"),
        ("limbeck.export.measure_speed", ["speed", "run"], "the same command begins anew"),
        ("limbeck.report.page.write_page", ["report", "run"], "the same command begins anew"),
        ("limbeck.runs.search", ["search", "quickstart"], "the same command with --resume continues"),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_is_one_line(limbeck, monkeypatch, place, words, how, number):
    monkeypatch.setattr(place, lambda *_, **__: os.kill(os.getpid(), number))
    assert limbeck(*words) == (130, "", f"limbeck: stopped; {how}\n")
