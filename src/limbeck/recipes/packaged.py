"""Names and texts of recipes: packaged ones, and files."""

from importlib import resources
from pathlib import Path

from limbeck.errors import UserError, shortened, unknown_name

# Four bytes for each of the characters that are read at most.
_MAX_BYTES = 4_000_000


def packaged() -> tuple[str, ...]:
    """List the packaged recipes.

    Example:
        >>> "quickstart" in packaged()
        True
    """
    folder = resources.files("limbeck.recipes")
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def recipe_file(source: str | Path) -> Path | None:
    """Return the file that a recipe's name stands for; None for a packaged recipe, and where there is no such file.

    Raises:
        UserError: If the path cannot be looked at, such as one that is too long.

    Example:
        >>> recipe_file("quickstart") is None
        True
    """
    try:
        path = Path(source).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"recipe {shortened(str(source))}: cannot be read ({reason}), expected a YAML file") from None


def read_recipe(source: str | Path) -> tuple[str, str]:
    """Return the name and the text of a recipe: of a YAML file, or of a packaged one.

    Raises:
        UserError: If there is none, or its file cannot be read as text.

    Example:
        >>> read_recipe("quickstart")[0]
        'quickstart'
    """
    path = recipe_file(source)
    if path is not None:
        return path.stem, _text(path)
    if str(source) in packaged():
        return str(source), (resources.files("limbeck.recipes") / f"{source}.yaml").read_text(encoding="utf-8")
    if Path(source).suffix in (".yaml", ".yml") or len(Path(source).parts) > 1:
        name = shortened(str(source), quoted=False)
        raise UserError(f"recipe {name}: no such file; packaged recipes: {', '.join(packaged())}")
    raise unknown_name("recipe", source, packaged())


def _text(path: Path) -> str:
    name = shortened(str(path), quoted=False)
    try:
        if (size := path.stat().st_size) > _MAX_BYTES:
            raise UserError(f"recipe {name}: has {size:,} bytes, expected a recipe of at most {_MAX_BYTES:,}")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"recipe {name}: is no text in UTF-8, expected YAML") from None
    except OSError as error:
        raise UserError(f"recipe {name}: cannot be read ({error.strerror}), expected YAML") from None
