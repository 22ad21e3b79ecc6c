"""Runs: one distillation or the comparison of many, their folders, and how they are resumed."""

from limbeck.build.reporting import Reporting
from limbeck.recipes.loading import dump_recipe, load_recipe, parse_overrides
from limbeck.recipes.packaged import packaged
from limbeck.recipes.schema import Recipe
from limbeck.runs.check import Checked, check
from limbeck.runs.compare import Comparison, compare
from limbeck.runs.folder import RunFolder
from limbeck.runs.replay import Replayed, replay
from limbeck.runs.run import read_run, run
from limbeck.runs.search.searching import Searched, search
from limbeck.runs.session import Run

__all__ = [
    "Checked",
    "Comparison",
    "Recipe",
    "Replayed",
    "Reporting",
    "Run",
    "RunFolder",
    "Searched",
    "check",
    "compare",
    "dump_recipe",
    "load_recipe",
    "packaged",
    "parse_overrides",
    "read_run",
    "replay",
    "run",
    "search",
]
