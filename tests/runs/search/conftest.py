"""One tiny search, done once for all tests of a file."""

import pytest

import limbeck
from tiny_search import recipe_in


@pytest.fixture
def recipe(tmp_path):
    return recipe_in(tmp_path)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A whole search with its recipe, lines and ticks."""
    folder, lines, ticks = tmp_path_factory.mktemp("searched"), [], []
    done = limbeck.search(
        recipe_in(folder),
        out=folder / "s",
        jobs=1,
        reporting=limbeck.runs.Reporting(lines.append),
        tick=lambda *tick: ticks.append(tick),
    )
    return done, recipe_in(folder), lines, ticks
