"""Packaged recipes and the text of recipes; nothing here imports torch, so that a mistyped name costs no time."""

from limbeck.recipes.packaged import packaged, read_recipe
from limbeck.recipes.parsing import parse_yaml

__all__ = ["packaged", "parse_yaml", "read_recipe"]
