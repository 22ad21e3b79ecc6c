"""Commands that only show something do not wait for what the others need."""

import json
import resource
import subprocess
import sys
from importlib import resources

import pytest

from limbeck.methods.index import plain, settings_text
from limbeck.methods.registry import packaged

LIGHT = """
import sys
from limbeck.cli.main import main
for words in {commands}:
    sys.argv = ["limbeck", *words]
    try:
        main()
    except SystemExit as stop:
        print(words, stop.code or 0, file=sys.stderr)
heavy = ["torch", "torchvision", "timm", "sklearn", "matplotlib", "lightning_fabric"]
heavy += ["transformers", "tokenizers", "datasets"]
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""


def test_light_commands_import_nothing_heavy(tmp_path):
    commands = [
        (["--help"], 0),
        (["run", "--help"], 0),
        (["recipes"], 0),
        (["recipes", "quickstart"], 0),
        (["methods"], 0),
        (["methods", "dist"], 0),
        (["methods", "dits"], 2),
        (["run", "quikstart"], 2),
        (["compare", "gone.yaml"], 2),
        (["cache", "info", "quikstart"], 2),
        (["rum"], 2),
    ]
    code = LIGHT.format(commands=[words for words, _ in commands])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    for words, expected in commands:
        assert f"{words} {expected}\n" in done.stderr
    assert done.stderr.endswith("[]\n")


def test_a_mistyped_recipe_takes_little_time(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "limbeck", "run", "quikstart"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, "did you mean 'quickstart'" in done.stderr) == (2, True)
    # A third of a second where this was written; a busy machine takes more.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


def test_the_settings_beside_the_cards_are_up_to_date(limbeck):
    folder = resources.files("limbeck") / "methods" / "cards"
    assert (folder / "settings.json").read_text(encoding="utf-8") == settings_text(), (
        "run: python -m limbeck.methods.index > src/limbeck/methods/cards/settings.json"
    )
    code, out, _ = limbeck("methods", "--json")
    shown = {card["name"]: card for card in json.loads(out)}
    assert (code, shown) == (0, {name: json.loads(json.dumps(plain(entry))) for name, entry in packaged().items()})


def test_every_card_is_that_of_a_method():
    folder = resources.files("limbeck") / "methods" / "cards"
    assert {file.name for file in folder.iterdir()} == {*(f"{name}.toml" for name in packaged()), "settings.json"}


def test_one_card_as_json(limbeck):
    code, out, _ = limbeck("methods", "dist", "--json")
    assert (code, [card["name"] for card in json.loads(out)]) == (0, ["dist"])


@pytest.mark.parametrize("name", ["none", "revise"])
def test_one_card_as_markdown(limbeck, name):
    code, out, _ = limbeck("methods", name, "--markdown")
    assert (code, out.splitlines()[0]) == (0, f"## `{name}`")
