"""The group ``search`` of a recipe: what ``limbeck search`` tries, and how much of it."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from limbeck.errors import UserError, shortened
from limbeck.training.settings import Positive
from limbeck.validation import Settings


class SearchSettings(Settings):
    """Methods, the values that their settings are tried at, and the budget.

    In ``settings`` (by method) and ``training`` a list holds choices, ``{low: .., high: .., log: ..}`` is a range, and
    a single value holds for every trial. Without ``methods`` a few that suit most teachers are tried, and without
    ``settings`` of a method its default ranges, see :data:`limbeck.runs.search.defaults.RANGES`.

    ``runs`` is how many settings are tried (24 without ``minutes``), ``minutes`` how long that may take. ``validation``
    is the share of the training samples that they are compared on, where ``data`` has no validation split. ``seeds`` is
    how often each row of the final table is trained, and ``control`` whether a random search of as many epochs stands
    beside.

    Example:
        >>> search = SearchSettings(methods="kd,dist", settings={"kd": {"temperature": [1, 4]}})
        >>> search.methods, search.validation
        (('kd', 'dist'), 0.2)
    """

    methods: tuple[str, ...] | None = None
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    runs: Annotated[int, Field(ge=2, le=10_000)] | None = None
    minutes: Positive | None = None
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 3
    control: bool = True

    @field_validator("methods", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if methods is None:
            return None
        if len(set(methods)) < len(methods) or not methods:
            got = shortened(", ".join(methods), 200, quoted=False) or "none"
            raise UserError(f"got {got}, expected each of at least one once")
        for name in methods:
            if "@" in name:
                raise UserError(f"got {shortened(name)}, expected a method without a label")
            if name == "none":
                raise UserError("got 'none', which has no settings and stands in the final table anyway")
        return methods
