"""Any change of a value that JSON holds: entries left out, added, or replaced by something of another type."""

import copy

from hypothesis import strategies as st

VALUES = (
    *(
        None,
        True,
        0,
        -1,
        10**30,
        2**63,
        1.5,
        -0.5,
        float("nan"),
        float("inf"),
        "",
        "x",
        "1",
        "a\nb",
        "\ud800",
        "x" * 3000,
    ),
    *([], [1], [None], ["x"], [[1]], [0.5, "x"], {}, {"a": 1}, {"name": "x"}, {"x": "y"}),
)


@st.composite
def changed(draw, value):
    """``value`` with one to three changes."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        if paths := list(_paths(value)):
            _change(draw, value, draw(st.sampled_from(paths)))
    return value


def _change(draw, value, path):
    *groups, key = path
    for group in groups:
        value = value[group]
    match draw(st.sampled_from(("replace", "replace", "drop", "add"))):
        case "drop":
            del value[key]
        case "add" if isinstance(value, dict):
            value["new"] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        case _:
            value[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))


def _paths(value, path=()):
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield (*path, key)
        yield from _paths(inner, (*path, key))
