"""The documentation agrees with the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from limbeck import methods
from limbeck.cli.card_pages import as_markdown
from limbeck.cli.cards import packaged_cards
from limbeck.runs import load_recipe

ROOT = Path(__file__).parents[2]


def test_the_page_of_methods_is_up_to_date():
    assert (ROOT / "docs" / "methods.md").read_text() == as_markdown(packaged_cards()), (
        "run: limbeck methods --markdown > docs/methods.md"
    )


def test_the_readmes_recipe_is_valid(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(block)
    assert load_recipe(path).method.name == "lr+dist"


@pytest.mark.parametrize("page", ["README.md"])
def test_methods_named_in_the_readme_exist(page):
    text = (ROOT / page).read_text()
    named = set(re.findall(r"--methods ([\w,+]+)", text))
    for name in {one for names in named for one in names.split(",")}:
        methods.create(name)


def test_every_link_in_the_readme_leads_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_the_loop_of_the_page_runs_as_typed(tmp_path):
    script = (ROOT / "docs" / "own_loop.md").read_text().split("```python\n")[1].split("```")[0]
    assert len(script.splitlines()) <= 40
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    teacher, student = done.stdout.splitlines()
    assert "'dist'" in student
    assert float(teacher.split(": ")[1].rstrip("}")) < 0.5


def test_every_file_of_the_page_on_architecture_exists():
    named = set(re.findall(r"[a-z_]+(?:/[a-z_]+)+\.py", (ROOT / "docs" / "architecture.md").read_text()))
    assert len(named) > 10
    missing = [name for name in named if not any((base / name).is_file() for base in (ROOT / "src" / "limbeck", ROOT))]
    assert not missing
