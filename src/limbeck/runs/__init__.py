"""Runs: recipes, run folders, teachers that are kept, one distillation and the comparison of many."""

from limbeck.build.teachers import Reporting
from limbeck.recipes.loading import dump_recipe, load_recipe, packaged, parse_overrides
from limbeck.recipes.schema import Recipe
from limbeck.runs.compare import Comparison, compare
from limbeck.runs.folder import RunFolder
from limbeck.runs.run import Run, read_run, run

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
