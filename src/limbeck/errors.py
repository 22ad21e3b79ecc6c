"""The one exception that stands for a mistake in what the user gave."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something given by the user cannot be used; the text is one line that says what, where and what is expected.

    The command line prints it without a traceback and exits with 2.

    Example:
        >>> raise UserError("training.epochs: got 0, expected a whole number of at least 1")
        Traceback (most recent call last):
        limbeck.errors.UserError: training.epochs: got 0, expected a whole number of at least 1
    """


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
    near = get_close_matches(str(name).lower(), names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    listed = ", ".join(names) or "none"
    if len(names) > limit:
        listed = f"{len(names)} names" + ("" if near else f", such as {', '.join(names[:3])}")
    return UserError(f"unknown {kind} {str(name)!r}{hint} Valid: {listed}")


class RunError(RuntimeError):
    """A run failed although what was given could be used; the text is one line that says what happened.

    The command line prints it without a traceback and exits with 1.

    Example:
        >>> raise RunError("epoch 3: the loss is nan")
        Traceback (most recent call last):
        limbeck.errors.RunError: epoch 3: the loss is nan
    """
