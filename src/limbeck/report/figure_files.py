"""Figures as files, each replaced in one move."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from limbeck.files import replacing


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure in the format that its path ends in; where that fails, the file that was there stays.

    Args:
        figure: The figure.
        path: The file; its folder exists.
        options: Arguments of ``Figure.savefig``.

    Raises:
        RunError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "empty.png"
        >>> save_figure(Figure(), path, dpi=10)
        >>> path.stat().st_size > 0
        True
    """
    with replacing(path) as partial:
        figure.savefig(partial, format=path.suffix.removeprefix("."), **options)
