"""What the runs of one process share: networks, data and the like, each made once."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Made = TypeVar("Made")


class Shared:
    """Things by key: what was made is returned when it is needed again.

    Args:
        keep_teachers: Keep teachers for later runs. A single run does without, so that a teacher whose logits are all
            stored takes no memory.

    Example:
        >>> shared = Shared()
        >>> first = shared.once("letters", lambda: ["a"])
        >>> shared.once("letters", lambda: ["b"]) is first, shared.take("letters", lambda: ["c"]) is first
        (True, True)
        >>> shared.once("letters", lambda: ["d"])
        ['d']
    """

    def __init__(self, *, keep_teachers: bool = False) -> None:
        self.keep_teachers = keep_teachers
        self._made: dict[Hashable, Any] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._made

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what is kept under ``key``; made by ``make`` and kept if there is nothing yet."""
        if key not in self._made:
            self._made[key] = make()
        made: Made = self._made[key]
        return made

    def take(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what is kept under ``key``, or what ``make`` makes, and keep it no longer."""
        made: Made = self._made.pop(key) if key in self._made else make()
        return made
