"""The site: every page in its navigation, notebooks with what they show, and generated pages that are up to date."""

import importlib
import json
import os
import re

import pytest
import yaml
from page_blocks import DOCS, ROOT
from page_checks import check_python

import limbeck

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags for Python names are left as text."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)


def in_nav(part):
    if isinstance(part, str):
        return [part]
    return [page for entry in (part.values() if isinstance(part, dict) else part) for page in in_nav(entry)]


def test_every_page_is_in_the_navigation_once():
    pages = [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md"))]
    pages += [path.relative_to(DOCS).with_suffix(".md").as_posix() for path in NOTEBOOKS]
    assert sorted(in_nav(SITE["nav"])) == sorted(pages)


def test_every_public_package_has_a_page():
    packages = {name for name in limbeck.__all__ if hasattr(getattr(limbeck, name), "__path__")}
    modules = packages | {name for name in limbeck.__all__ if type(getattr(limbeck, name)).__name__ == "module"}
    assert {path.stem for path in (DOCS / "api").glob("*.md")} == {"limbeck", *modules}
    for name in modules:
        assert f"::: limbeck.{name}\n" in (DOCS / "api" / f"{name}.md").read_text()


def test_the_page_of_figures_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    figures = importlib.import_module("figures")
    assert (DOCS / "figures.md").read_text() == figures.page(), "run: python tools/figures.py > docs/figures.md"
    listed = list(figures.sources())
    assert [source.page for source in listed if not source.commands] == ["lw-kd-modalities.md"]
    assert len(listed) == len(list((ROOT / "benchmarks" / "results").glob("*.md")))


def cells_of(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def markdown_of(cells):
    (text,) = [output["data"]["text/markdown"] for output in outputs_of(cells) if "text/markdown" in kinds(output)]
    return "".join(text)


def outputs_of(cells):
    return [output for cell in cells for output in cell["outputs"]]


def kinds(output):
    return {output["output_type"], *output.get("data", {})}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_valid_and_show_what_they_gave(path):
    cells = cells_of(path)
    check_python("\n".join("".join(cell["source"]) for cell in cells))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    shown = {kind for output in outputs_of(cells) for kind in kinds(output)}
    assert {"text/markdown", "image/png", "stream"} <= shown
    assert "error" not in shown
    assert methods_in(markdown_of(cells)) == ["teacher", "none", "kd", "dist"]
    # What a picture holds is no text.
    text = re.sub(r'"image/png": "[^"]*"', "", path.read_text())
    assert re.findall(r"(?<![\w.:/<*])/\w+/[\w.-]+", text) == []


def methods_in(table):
    return [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][2:]


@pytest.mark.skipif(not os.environ.get("LIMBECK_RUN_DOCS"), reason="runs with make docs-test")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    cells = [cell for cell in importlib.import_module("notebook").executed(path).cells if cell["cell_type"] == "code"]
    assert methods_in(markdown_of(cells)) == methods_in(markdown_of(cells_of(path)))
