"""Print pip constraints that hold every dependency at its lowest version: python tools/oldest.py [pyproject.toml]."""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# "torch>=2.6,<3" and "limbeck[test]"; a name and its extras, then the bounds of the version.
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[.*\])?(?P<bounds>[^;]*)")
OWN_EXTRAS = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\[(?P<extras>.*)\]")


def lowest(requirement: str) -> str | None:
    """Return ``name==version`` for a requirement with a lower bound, None for one without.

    Example:
        >>> lowest("torch>=2.6,<3")
        'torch==2.6'
        >>> lowest("types-PyYAML")
    """
    found = REQUIREMENT.match(requirement)
    bounds = [bound.strip() for bound in found["bounds"].split(",")] if found else []
    versions = [bound.removeprefix(">=").strip() for bound in bounds if bound.startswith(">=")]
    return f"{found['name']}=={versions[0]}" if found and versions else None


def constraints(project: Mapping[str, Any]) -> Iterator[str]:
    """Yield a constraint for each dependency of the package and of its tests, if it has a lower bound.

    Example:
        >>> extras = {"test": ["lab[text]", "pytest>=8"], "text": ["tokenizers>=0.22,<1"], "docs": ["mkdocs>=1"]}
        >>> project = {"name": "lab", "dependencies": ["torch>=2.6"], "optional-dependencies": extras}
        >>> list(constraints(project))
        ['torch==2.6', 'tokenizers==0.22', 'pytest==8']
    """
    for requirement in [*project["dependencies"], *of_extra(project, "test")]:
        if constraint := lowest(requirement):
            yield constraint


def of_extra(project: Mapping[str, Any], extra: str) -> Iterator[str]:
    """Yield what an extra requires; those of the project's own extras that it names stand in their place."""
    for requirement in project.get("optional-dependencies", {}).get(extra, ()):
        own = OWN_EXTRAS.fullmatch(requirement)
        if own is None or own["name"] != project.get("name"):
            yield requirement
            continue
        for name in own["extras"].split(","):
            yield from of_extra(project, name.strip())


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "pyproject.toml")
    print("\n".join(constraints(tomllib.loads(path.read_text())["project"])))
