"""The exceptions for mistakes in the user's input and for failed runs, and their texts of one line."""

from collections.abc import Iterable
from difflib import get_close_matches
from reprlib import Repr

# Wide enough for a value that fits the line; one that repeats itself a million times is not written out.
_SHORT = Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 1000
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 20


def shortened(value: object, limit: int = 80, *, quoted: bool = True) -> str:
    r"""Write a value as one printable line of limited length, for a message.

    Args:
        value: Anything; a nested value is written to three levels.
        limit: Most characters of the result.
        quoted: Whether text stands in quotation marks.

    Returns:
        Python's own representation where it fits; else its beginning, ``...`` and its end.

    Example:
        >>> print(shortened("a\nb"), shortened("a\nb", quoted=False))
        'a\nb' a\nb
        >>> shortened("a/long/path.png", 14, quoted=False)
        'a/long...h.png'
    """
    if isinstance(value, str):
        ends = value if len(value) <= 2 * limit else value[:limit] + value[-limit:]
        text = repr(ends) if quoted else _printable(ends)
    else:
        try:
            text = _SHORT.repr(value)
        except ValueError:
            # Python refuses to write whole numbers of thousands of digits.
            text = f"a {type(value).__name__} that is too large to write"
    end = (limit - 3) // 2
    return text if len(text) <= limit else f"{text[: limit - 3 - end]}...{text[len(text) - end :]}"


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's text, or the name of its type where it has none.

    Example:
        >>> first_line(RuntimeError("no network\nsecond line")), first_line(EOFError())
        ('no network', 'EOFError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def one_line(error: BaseException) -> str:
    r"""Write the type and the whole text of an error of unknown origin as one line.

    Example:
        >>> one_line(ValueError("a\nb"))
        'ValueError: a b'
    """
    return f"{type(error).__name__}: {shortened(' '.join(str(error).split()), 500, quoted=False)}".rstrip(": ")


class UserError(ValueError):
    """Something given by the user cannot be used; the text is one line: what was given, where, what is expected.

    The command line prints it without a traceback and exits with 2. Whatever cannot be printed, as a line break in a
    file's name, is escaped.

    Example:
        >>> raise UserError("training.epochs: got 0, expected a whole number of at least 1")
        Traceback (most recent call last):
        limbeck.errors.UserError: training.epochs: got 0, expected a whole number of at least 1
    """

    def __str__(self) -> str:
        return _printable(super().__str__())


def unknown_name(kind: str, name: object, valid: Iterable[str], *, limit: int = 60) -> UserError:
    """Build the error for a name that is not registered, with the nearest valid ones.

    Args:
        kind: What the name should have named, such as ``"method"``.
        name: What was given.
        valid: Every name that would have been accepted.
        limit: With more valid names than this, only their number is given (and three of them if none is near).

    Returns:
        The error to raise.

    Example:
        >>> print(unknown_name("method", "dits", ["kd", "dist"]))
        unknown method 'dits'; did you mean 'dist'? Valid: dist, kd
    """
    names = sorted(valid)
    lower = {name.lower(): name for name in names}
    near = [lower[match] for match in get_close_matches(str(name)[:100].lower(), lower, n=3, cutoff=0.5)]
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    listed = ", ".join(names) or "none"
    if len(names) > limit:
        listed = f"{len(names)} names" + ("" if near else f", such as {', '.join(names[:3])}")
    return UserError(f"unknown {kind} {shortened(str(name))}{hint} Valid: {listed}")


class RunError(RuntimeError):
    """A run failed although what was given could be used; the text is one line: where it failed, and why.

    The command line prints it without a traceback and exits with 1.

    Example:
        >>> raise RunError("epoch 3: the loss is nan")
        Traceback (most recent call last):
        limbeck.errors.RunError: epoch 3: the loss is nan
    """

    def __str__(self) -> str:
        return _printable(super().__str__())
