"""The files for contributors name what exists: make targets, versions of Python, the version to cite."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def steps(job):
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def test_the_workflow_runs_every_supported_python():
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"] == named


def test_the_oldest_python_has_the_oldest_versions_and_both_ends_the_newest():
    named = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"]
    (setup,) = (step["with"] for step in WORKFLOW["jobs"]["oldest"]["steps"] if "setup-python" in step.get("uses", ""))
    assert setup["python-version"] == named[0]
    assert WORKFLOW["jobs"]["newest"]["strategy"]["matrix"]["python"] == [named[0], named[-1]]


def test_the_workflow_calls_make_alone():
    assert steps("test") == ["make test PYTHON=python"]
    assert steps("oldest") == ["make test-oldest OLDEST_PYTHON=python"]
    assert steps("newest") == ["make test-newest NEWEST_PYTHON=python"]
    wanted = ["make docs PYTHON=python", "make docs-test PYTHON=python", "make test-slow PYTHON=python"]
    assert steps("docs-and-slow") == wanted


@pytest.mark.parametrize("file", ["CONTRIBUTING.md", "README.md", ".ci/run", ".github/workflows/test.yml"])
def test_every_make_target_that_is_named_exists(file):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    # At the start of a line or of a code span, or after "run:" and "exec".
    named = re.findall(r"(?:^|`|run: |exec )make ([\w-]+)", (ROOT / file).read_text(), flags=re.MULTILINE)
    assert named
    assert set(named) <= targets


@pytest.mark.parametrize("path", re.findall(r"`((?:src|tests|tasks|losses)/[\w/.]+)`", CONTRIBUTING))
def test_every_path_that_is_named_exists(path):
    assert any((folder / path.replace("NAME.py", "")).exists() for folder in (ROOT, ROOT / "src/limbeck"))


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    found = {key: str(citation[key]) for key in ("title", "version", "license")}
    assert found == {"title": PROJECT["name"], "version": PROJECT["version"], "license": PROJECT["license"]}
