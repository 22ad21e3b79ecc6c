"""One kind of registry for all that has a name: methods, models, data and tasks, built in or from outside.

A registry is a constant of the module that owns its kind, such as ``limbeck.methods.registry.REGISTRY``: it stands for
what the process can use by name, as ``sys.modules`` does for modules. Only three things change it: built-in values are
filled in and plug-ins are loaded when they are first needed, and ``register`` adds a value.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from limbeck.errors import UserError, one_line, shortened, unknown_name
from limbeck.imports import PREFIX, import_object

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Registry(Generic[T]):
    """Values by name: built-in ones, those of installed plug-ins, and those registered in this process.

    An installed distribution offers a value as an entry point of the registry's group. A plug-in that cannot be used is
    left out, with one warning to the logger ``limbeck.registry`` that names the distribution. Registering and reading
    are safe from several threads.

    Args:
        kind: What the values are, in the singular, for messages.
        group: The entry-point group, such as ``"limbeck.methods"``.
        builtins: Returns the built-in values by name; called once, when they are first needed.
        adopt: Turns what an entry point or a ``python:MODULE:NAME`` names into a value under the given name; raises
            ``UserError`` for anything else.
        normalize: Maps a name that is looked up to the registered form, such as ``str.lower``.
        forms: Further forms of names, for the list of valid ones in a message.

    Example:
        >>> registry = Registry("loss", "example.losses", lambda: {"l1": abs}, lambda name, value: value)
        >>> registry.register("square", lambda value: value**2)
        >>> registry.names(), registry.get("square")(3)
        (('l1', 'square'), 9)
    """

    def __init__(
        self,
        kind: str,
        group: str,
        builtins: Callable[[], Mapping[str, T]],
        adopt: Callable[[str, object], T],
        *,
        normalize: Callable[[str], str] = str,
        forms: Iterable[str] = (),
    ) -> None:
        self.kind, self.group = kind, group
        self._builtins, self._adopt, self._normalize, self._forms = builtins, adopt, normalize, tuple(forms)
        self._lock = threading.RLock()
        self._values: dict[str, T] = {}
        self._filled = False
        self._points: dict[str, EntryPoint] | None = None
        self._left_out: dict[str, str] = {}
        self._local: dict[str, T] = {}

    def register(self, name: str, value: T, *, replace: bool = False) -> None:
        """Add a value; worker processes do not see it, see :meth:`local_names`.

        Args:
            name: Letters, digits, ``_`` and ``-``, beginning with a letter.
            value: The value.
            replace: Whether it may take the place of another one.

        Raises:
            UserError: If the name is malformed, or taken and ``replace`` is not given.

        Example:
            >>> registry = Registry("loss", "example.losses", lambda: {"l1": abs}, lambda name, value: value)
            >>> registry.register("l1", max)
            Traceback (most recent call last):
            limbeck.errors.UserError: loss 'l1': the name is taken, expected another name or replace=True
        """
        self._check_form(name)
        name = self._normalize(name)
        self._fill()
        points = self._plugins()
        with self._lock:
            if not replace and (name in self._values or name in points or name in self._local):
                raise UserError(f"{self.kind} {name!r}: the name is taken, expected another name or replace=True")
            self._local[name] = value

    def unregister(self, name: str) -> None:
        """Remove a value that :meth:`register` added; one that it replaced is back in its place.

        Raises:
            UserError: If no value of that name was registered in this process.
        """
        with self._lock:
            if self._normalize(name) not in self._local:
                raise unknown_name(f"registered {self.kind}", name, self._local)
            del self._local[self._normalize(name)]

    def get(self, name: str) -> T:
        """Look a value up; this loads a plug-in, or imports a module, only where the name needs it.

        Args:
            name: A registered name, or ``python:MODULE:NAME``.

        Raises:
            UserError: If there is no such value, with the nearest names, or it cannot be imported.
        """
        if name.startswith(PREFIX):
            return self._adopt(name, import_object(self.kind, name))
        self._fill()
        key = self._normalize(name)
        with self._lock:
            if key in self._local:
                return self._local[key]
        if key in self._values or self._load(key):
            return self._values[key]
        if key in self._left_out:
            raise UserError(f"{self.kind} {shortened(name)}: {self._left_out[key]}")
        raise unknown_name(self.kind, name, {*self._values, *self._plugins(), *self._local, *self._forms})

    def names(self) -> tuple[str, ...]:
        """List all names: the built-in ones, those of plug-ins, and those registered in this process."""
        return tuple(self.items())

    def items(self) -> dict[str, T]:
        """Return all values by name, in the order of :meth:`names`; every plug-in is loaded for this."""
        self._fill()
        for name in self._plugins():
            self._load(name)
        with self._lock:
            return self._values | self._local

    def local_names(self) -> frozenset[str]:
        """Return the names that were registered in this process, and that no other process has."""
        with self._lock:
            return frozenset(self._local)

    def warnings(self) -> tuple[str, ...]:
        """Return a line for each plug-in that was left out so far."""
        with self._lock:
            return tuple(self._left_out.values())

    def _check_form(self, name: str) -> None:
        if not re.fullmatch(r"[^\W\d_][\w-]*", name):
            expected = "expected letters, digits, _ and -, beginning with a letter"
            raise UserError(f"{self.kind} {shortened(name)}: {expected}")

    def _fill(self) -> None:
        if self._filled:
            return
        # Importing outside the lock: a thread that holds an import lock may be waiting for this one.
        values = self._builtins()
        with self._lock:
            if not self._filled:
                self._values, self._filled = {**values, **self._values}, True

    def _plugins(self) -> Mapping[str, EntryPoint]:
        self._fill()
        with self._lock:
            if self._points is None:
                self._points = {}
                for point in sorted(entry_points(group=self.group), key=lambda p: (p.name, _origin(p), p.value)):
                    if point.name in self._values or point.name in self._points:
                        self._leave_out(point, "the name is taken", key=f"{point.name} {point.value}")
                    else:
                        self._points[point.name] = point
            return self._points

    def _load(self, name: str) -> bool:
        """Load the plug-in of a name, and return whether there is a value now."""
        point = self._plugins().get(name)
        if point is None or name in self._values or name in self._left_out:
            return name in self._values
        try:
            self._check_form(name)
            value = self._adopt(name, point.load())
        except (Exception, SystemExit) as error:  # another's module may raise anything
            self._leave_out(point, str(error) if isinstance(error, UserError) else one_line(error), key=name)
            return False
        with self._lock:
            self._values.setdefault(name, value)
        return True

    def _leave_out(self, point: EntryPoint, reason: str, *, key: str) -> None:
        entry = f"entry point {point.name} = {point.value} ({self.group})"
        line = f"the plug-in of {_origin(point)}, {entry}, is left out: {reason}"
        with self._lock:
            new = key not in self._left_out
            self._left_out[key] = line
        if new:
            _log.warning("%s", line)


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
