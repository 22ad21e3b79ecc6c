"""Runs: recipes, run folders, teachers that are kept, one distillation and the comparison of many."""

from limbeck.runs.compare import Comparison, compare
from limbeck.runs.folder import RunFolder
from limbeck.runs.loading import dump_recipe, load_recipe, packaged, parse_overrides
from limbeck.runs.recipe import Recipe
from limbeck.runs.run import Run, read_run, run
from limbeck.runs.teachers import Reporting

__all__ = [
    "Comparison",
    "Recipe",
    "Reporting",
    "Run",
    "RunFolder",
    "compare",
    "dump_recipe",
    "load_recipe",
    "packaged",
    "parse_overrides",
    "read_run",
    "run",
]
