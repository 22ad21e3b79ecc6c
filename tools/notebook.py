"""Run the notebooks of docs/ and store what they show: python tools/notebook.py [NOTEBOOK...]."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
_SECONDS = 600


def executed(path: Path) -> Any:
    """Run a notebook in a folder of its own, with a cache of its own.

    Args:
        path: The notebook.

    Returns:
        The notebook with what its cells showed.

    Raises:
        CellExecutionError: If a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LIMBECK_CACHE"] = str(Path(folder) / "cache")
        # Warnings of other packages name folders of the machine.
        os.environ["PYTHONWARNINGS"] = "ignore"
        client = NotebookClient(notebook, timeout=_SECONDS, resources={"metadata": {"path": folder}})
        # When each cell ran would change the file at every run.
        client.record_timing = False
        client.execute()
    return notebook


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        nbformat.write(executed(path), path)
