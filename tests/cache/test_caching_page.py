"""The program on docs/caching.md runs as it stands."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[2] / "docs" / "caching.md"


def test_the_program_of_the_page(tmp_path, monkeypatch):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(program, found)
    expected = found["network"](found["images"][:4])
    torch.testing.assert_close(found["maps"], expected, rtol=1e-5, atol=1e-6)
    store = found["teacher"].store
    assert (store.folder.parent.name, len(store), store.spec.rows.shape) == ("caches", 4, (21, 16, 16))
