"""The plug-in of examples/plugin, installed beside limbeck, is a method of every command and every process."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import yaml

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """What an installer does with a package of one module: its folder on the path, and its metadata beside it."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    )
    (metadata / "entry_points.txt").write_text("\n".join(groups))
    (site / "limbeck_plugin.py").write_text((PLUGIN / "limbeck_plugin.py").read_text())
    path = os.pathsep.join([str(site), *sys.path])
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}


def command(environment, folder, *words):
    code = "from limbeck.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_example_is_small():
    lines = sum(len(file.read_text().splitlines()) for file in PLUGIN.iterdir() if file.is_file())
    assert lines <= 40


def test_its_loss_is_listed(environment, tmp_path):
    line = next(line for line in command(environment, tmp_path, "methods").splitlines() if "hellinger" in line)
    assert "Match the square roots of the softened probabilities" in line
    assert "alpha 0.9, temperature 4.0" in line
    (card,) = json.loads(command(environment, tmp_path, "methods", "hellinger", "--json"))
    assert [setting["key"] for setting in card["settings"]] == ["alpha", "temperature"]
    page = command(environment, tmp_path, "methods", "--markdown")
    assert page.index("## `reviewkd`") < page.index("## `hellinger`") < page.index("# Components for compositions")
    assert "no paper given, limbeck_plugin:hellinger" in page


@pytest.mark.slow
def test_its_loss_is_compared_in_worker_processes(environment, tmp_path, tiny):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump({**tiny, "method": {"name": "revise+hellinger", "temperature": 2.0}}))
    command(environment, tmp_path, "run", recipe, "training.epochs=1", "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["method"] == "revise+hellinger"
    words = ("--methods", "none,hellinger", "--jobs", 2, "--out", tmp_path / "compared")
    command(environment, tmp_path, "compare", recipe, "training.epochs=1", *words)
    assert "| hellinger |" in (tmp_path / "compared" / "table.md").read_text()


def test_its_loss_is_the_formula(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGIN))
    from limbeck_plugin import hellinger

    p, q = torch.tensor([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]), torch.tensor([[0.5, 0.25, 0.25], [0.3, 0.3, 0.4]])
    expected = 4 * (1 - (p * q).sqrt().sum(1))
    torch.testing.assert_close(hellinger(2 * p.log(), 2 * q.log() + 3, temperature=2.0), expected.mean())
    weight = torch.tensor([1.0, 3.0])
    torch.testing.assert_close(hellinger(2 * p.log(), 2 * q.log(), temperature=2.0, weight=weight), expected[0] / 4)


def test_a_broken_plug_in_is_one_line(environment, tmp_path):
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[limbeck.methods]\nworse = limbeck_absent:worse\n")
    environment = {**environment, "PYTHONPATH": f"{tmp_path}{os.pathsep}{environment['PYTHONPATH']}"}
    code = "from limbeck.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "methods"], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, "hellinger" in done.stdout, done.stderr.count("\n")) == (0, True, 1)
    assert done.stderr.startswith("limbeck: the plug-in of broken 1.0, entry point worse = limbeck_absent:worse")


def test_the_page_shows_the_files_as_they_are():
    page = (PLUGIN.parents[1] / "docs" / "plugins.md").read_text()
    for file in PLUGIN.iterdir():
        if file.is_file():
            assert file.read_text() in page, file.name
