"""The recipes on docs/detection.md are valid."""

import re
from pathlib import Path

import yaml

from limbeck.recipes.loading import load_recipe

PAGE = Path(__file__).parents[2] / "docs" / "detection.md"


def test_its_recipes_are_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    recipes = [load_recipe(yaml.safe_load(block)) for block in blocks]
    assert recipes
    assert {recipe.task.name for recipe in recipes} == {"detection"}
