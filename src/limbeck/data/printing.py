"""Names of files and folders in lines of text."""


def printable(name: object, limit: int = 120) -> str:
    r"""Return a name as it can stand in one line: ``?`` for what cannot be printed, of a long name only the end.

    Args:
        name: A name or a path.
        limit: How many characters to keep.

    Example:
        >>> printable("cat\n\udcff.jpg"), printable("a/long/path", limit=7)
        ('cat??.jpg', '...path')
    """
    line = "".join(character if character.isprintable() else "?" for character in str(name))
    return line if len(line) <= limit else f"...{line[len(line) - limit + 3 :]}"
