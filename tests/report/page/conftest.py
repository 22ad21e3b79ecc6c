"""What tests of pages share: one tiny comparison of rows whose names would be markup, and a browser."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import limbeck
from limbeck.report.page import write_page

SCRIPT = "<script>alert(1)</script>"
CLASSES = (SCRIPT, 'b & "c"', "plain")


def write_rows(path: Path) -> Path:
    """Rows of three classes, which two numbers and a word all but decide."""
    generator = np.random.default_rng(0)
    lines = ["<i>size</i>,width,kind,label"]
    for number in range(150):
        label = number % 3
        size, width = generator.normal((label, -label))
        name = CLASSES[label].replace('"', '""')
        lines.append(f'{size:.3f},{width:.3f},{"red" if size > 0 else "<b>blue</b>"},"{name}"')
    path.write_text("\n".join(lines))
    return path


def recipe_of(rows: Path, folder: Path) -> dict:
    training = {"epochs": 3, "batch_size": 20, "precision": "fp32", "device": "cpu"}
    return {
        "name": "rows",
        "data": {"name": "table", "root": str(rows), "test_share": 0.4, "options": {"label": "label"}},
        "teacher": {"name": "mlp", "options": {"hidden": 32}, "training": {**training, "epochs": 8}},
        "student": {"name": "mlp", "options": {"hidden": 4}},
        "training": training,
        "compare": {
            "methods": ["none", "kd", "lr_ds@random"],
            "seeds": 3,
            "settings": {"lr_ds@random": {"scorer": "random"}},
        },
        "output": {"root": str(folder)},
    }


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.csv")


@pytest.fixture(scope="session")
def compared(rows, tmp_path_factory):
    """The comparison; tests leave its files as they are."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMBECK_CACHE", str(folder / "cache"))
        patch.setattr("limbeck.runs.pictures.save_class_picture", lambda figures, path, title: path)
        return limbeck.compare(recipe_of(rows, folder), out=folder / "rows-compare", jobs=1)


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium; tests that need it are skipped without it."""
    api = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on the path")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page_of():
    """Write the page of some folders and return its text."""

    def written(*folders, out, **options):
        return write_page(list(folders), out, **options).read_text()

    return written
