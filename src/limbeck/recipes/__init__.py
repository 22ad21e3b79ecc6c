"""Recipes: their text, their schema, which code they may name, and the packaged ones; nothing is built here.

Importing this package does not import torch, so that a mistyped name costs no time; the schema does.
"""

from limbeck.recipes.packaged import packaged, read_recipe
from limbeck.recipes.parsing import parse_yaml

__all__ = ["packaged", "parse_yaml", "read_recipe"]
