"""Print pip constraints that hold every dependency at its lowest version: python tools/oldest.py [pyproject.toml]."""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# "torch>=2.6,<3" and "limbeck[test]"; a name and its extras, then the bounds of the version.
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[.*\])?(?P<bounds>[^;]*)")


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
    """Yield a constraint for each dependency of the package and of three extras, if it has one."""
    extras = project.get("optional-dependencies", {})
    of_extras = [requirement for name in ("detection", "text", "test") for requirement in extras.get(name, ())]
    for requirement in [*project["dependencies"], *of_extras]:
        if constraint := lowest(requirement):
            yield constraint


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "pyproject.toml")
    print("\n".join(constraints(tomllib.loads(path.read_text())["project"])))
