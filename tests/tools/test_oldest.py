"""The constraints of ``make test-oldest`` hold each dependency at the lowest version that pyproject.toml allows."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "oldest.py"


def printed(*arguments):
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_every_dependency_of_the_package_and_its_tests_has_its_lowest_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (own,) = (text for text in extras["test"] if text.startswith("limbeck["))
    named = Requirement(own).extras
    assert named == extras.keys() - {"docs", "test", "dev"}
    texts = [*project["dependencies"], *extras["test"], *(text for name in named for text in extras[name])]
    given = [Requirement(text) for text in texts if not text.startswith("limbeck[")]
    found = {Requirement(text).name: Requirement(text) for text in printed()}
    assert found.keys() == {requirement.name for requirement in given}
    for requirement in given:
        (pin,) = found[requirement.name].specifier
        lower = [bound.version for bound in requirement.specifier if bound.operator == ">="]
        assert (pin.operator, pin.version) == ("==", *lower)
        assert Version(pin.version) in requirement.specifier


def test_extras_markers_and_missing_bounds(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        """[project]
        dependencies = ["first[cli,fast] >= 1.2, < 2 ; python_version > '3.0'", "second<3,>=2.0.1", "third", "fourth<9"]
        """
    )
    assert printed(tmp_path / "pyproject.toml") == ["first==1.2", "second==2.0.1"]


@pytest.mark.parametrize("name", ["torch", "numpy", "pytest"])
def test_dependencies_that_matter_most_are_held(name):
    assert any(line.startswith(f"{name}==") for line in printed())
