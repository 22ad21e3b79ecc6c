"""The files for contributors name what exists: make targets, versions of Python, the version to cite."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())


def steps(job):
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def test_the_workflow_runs_every_supported_python():
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"] == named


def test_the_workflow_calls_make_alone():
    assert steps("test") == ["make test PYTHON=python"]
    assert steps("oldest") == ["make test-oldest OLDEST_PYTHON=python"]


@pytest.mark.parametrize("file", ["CONTRIBUTING.md", "README.md", ".ci/run", ".github/workflows/test.yml"])
def test_every_make_target_exists(file):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][\w-]*)(?=[`\s]|$)", (ROOT / file).read_text()))
    code = {name for name in named if f"`make {name}" in (ROOT / file).read_text() or file.endswith((".yml", "run"))}
    assert code
    assert code <= targets


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    found = {key: str(citation[key]) for key in ("title", "version", "license")}
    assert found == {"title": PROJECT["name"], "version": PROJECT["version"], "license": PROJECT["license"]}
