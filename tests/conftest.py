"""What all tests share: one thread, a cache of their own, and a tiny data set in the official MNIST layout."""

import importlib
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from data_layouts import write_mnist
from limbeck import data
from limbeck.cli.main import main
from limbeck.testing import Processes
from process_pair import Pair

# Small networks gain nothing from a second thread, and two test processes with two each crawl.
torch.set_num_threads(1)


DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def available_devices():
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where tests of tensors run: cpu, cuda, cuda:1, or all")
    parser.addoption("--dtype", default="float32", choices=[*DTYPES, "all"], help="in which type tests of tensors run")
    parser.addoption("--slow", action="store_true", help="run the tests with the mark slow too, as make test-slow does")


def pytest_collection_modifyitems(config, items):
    """Leave out the tests with the mark ``slow``, unless they are wanted."""
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="runs with make test-slow"))


@pytest.fixture
def slow_counts(request):
    """Add to a count that the end of pytest's output shows, summed over all tests: ``slow_counts("kills", 5)``."""

    def count(name, number=1):
        request.node.user_properties.append(("count", [name, number]))

    return count


def pytest_terminal_summary(terminalreporter):
    """Print the counts of all tests, those of other processes too, which come with their tests' reports."""
    counts = Counter()
    # The report of a test's end has all its properties; that of its call has the same ones.
    ends = [r for reports in terminalreporter.stats.values() for r in reports if getattr(r, "when", "") == "teardown"]
    for name, number in (value for report in ends for key, value in report.user_properties if key == "count"):
        counts[name] += number
    if counts:
        terminalreporter.section("counts")
        terminalreporter.line(", ".join(f"{name} {number:,}" for name, number in counts.items()))


def names_in(mark):
    """Names of the arguments that a ``parametrize`` mark gives."""
    names = mark.args[0]
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc):
    """Run every test that takes a device or a dtype, and does not name its own, once for each that the options name."""
    given = {name for mark in metafunc.definition.iter_markers("parametrize") for name in names_in(mark)}
    for name, every in (("device", available_devices()), ("dtype", list(DTYPES))):
        if name in metafunc.fixturenames and name not in given:
            chosen = metafunc.config.getoption(name)
            metafunc.parametrize(name, every if chosen == "all" else [chosen], indirect=True)


@pytest.fixture
def device(request):
    """The device that ``--device`` names."""
    return torch.device(request.param)


@pytest.fixture
def dtype(request):
    """The type of logits that ``--dtype`` names."""
    return DTYPES[request.param]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _no_class_pictures(request, monkeypatch):
    """Leave out a picture whose drawing takes longer than a tiny run; the tests with the mark ``pictures`` have it."""
    if request.node.get_closest_marker("pictures") is None:
        monkeypatch.setattr("limbeck.runs.pictures.save_class_picture", lambda figures, path, title: path)


@pytest.fixture(autouse=True)
def _no_report_pages(request, monkeypatch):
    """Leave out the page of a comparison, likewise; the tests with the mark ``pages`` have it."""
    if request.node.get_closest_marker("pages") is None:
        # The package has a function of the module's name.
        module = importlib.import_module("limbeck.runs.compare")
        monkeypatch.setattr(module, "write_page", lambda *args, **more: None)


@pytest.fixture(autouse=True)
def _own_compilations():
    yield
    # Dynamo counts recompilations over the whole process and gives up at a limit.
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


@pytest.fixture
def script(monkeypatch):
    """Import one of the benchmarks' scripts; the images that it registers are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    yield importlib.import_module
    for name in data.names():
        if name.startswith("claims_"):
            data.registry.REGISTRY.unregister(name)


@pytest.fixture
def shared():
    """The folder that holds real data sets; tests that need it are skipped without it."""
    folder = os.environ.get("LIMBECK_SHARED")
    if not folder or not Path(folder, "data").is_dir():
        pytest.skip("LIMBECK_SHARED names no folder with data/")
    return Path(folder)


@pytest.fixture
def tiny(tmp_path):
    """A recipe that runs in a second: 60 training and 30 test images, a quarter-width resnet8, two epochs."""
    write_mnist(tmp_path / "mnist", train=60, test=30)
    training = {
        "epochs": 2,
        "batch_size": 20,
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "precision": "fp32",
        "device": "cpu",
    }
    return {
        "name": "tiny",
        "data": {"name": "mnist", "root": str(tmp_path / "mnist"), "augment": {"crop": 2, "flip": True}},
        "teacher": {"name": "resnet8", "options": {"width": 0.5}, "training": {**training, "epochs": 1}},
        "student": {"name": "resnet8", "options": {"width": 0.25}},
        "method": "none",
        "training": training,
        "output": {"root": str(tmp_path / "runs")},
    }


def in_precision(tiny, precision):
    lowered = {"precision": precision}
    teacher = {**tiny["teacher"], "training": {**tiny["teacher"]["training"], **lowered}}
    return {**tiny, "teacher": teacher, "training": {**tiny["training"], **lowered}}


@pytest.fixture(params=["fp32", "bf16"])
def precise(tiny, request):
    """The recipe of ``tiny`` in each precision that a CPU has, for the student and the teacher."""
    return in_precision(tiny, request.param)


@pytest.fixture(params=["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def precise_if_slow(tiny, request):
    """The recipe of ``precise``, in bf16 with make test-slow alone."""
    return in_precision(tiny, request.param)


@pytest.fixture(scope="session")
def pair():
    """Two processes of one ``torch.distributed`` group."""
    with Processes(2) as processes:
        yield Pair(processes)


@pytest.fixture
def limbeck(monkeypatch, capsys):
    """Run the command in this process; return its exit code, output and errors."""

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["limbeck", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        return stop.value.code or 0, printed.out, printed.err

    return command
