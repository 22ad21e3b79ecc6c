"""Elements of inline SVG, whose texts and attributes are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape


def tag(name: str, *inner: str, **attributes: object) -> Markup:
    """Return an element.

    Args:
        name: Its name.
        *inner: What stands in it; text is escaped, elements are not.
        **attributes: Its attributes; ``_`` stands for ``-``, and at the end for nothing. None is left out.

    Example:
        >>> print(tag("text", "a < b", x=1.25, text_anchor="end", class_="ink"))
        <text x="1.25" text-anchor="end" class="ink">a &lt; b</text>
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{escape(_short(value))}"' for key, value in given.items())
    content = "".join(map(escape, inner))
    return Markup(f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>")


def picture(width: float, height: float, parts: Iterable[str], label: str | None = None) -> Markup:
    """Return an SVG of a size in pixels; it shrinks with the page.

    Args:
        width: Its width.
        height: Its height.
        parts: What is drawn.
        label: What it shows, for those who do not see it; None where the text beside it has all of it.

    Example:
        >>> print(picture(10, 5, [], "nothing"))
        <svg viewBox="0 0 10 5" width="10" height="5" role="img" aria-label="nothing"/>
    """
    box = f"0 0 {_short(width)} {_short(height)}"
    spoken = {"aria_hidden": "true"} if label is None else {"role": "img", "aria_label": label}
    return tag("svg", *parts, viewBox=box, width=width, height=height, **spoken)


def line(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Return a line through points.

    Example:
        >>> print(line([(0, 1), (2.5, 3)], "grid"))
        <polyline points="0,1 2.5,3" class="grid"/>
    """
    return tag("polyline", points=" ".join(f"{_short(x)},{_short(y)}" for x, y in points), class_=class_)


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
