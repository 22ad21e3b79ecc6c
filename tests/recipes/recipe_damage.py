"""Recipes with mistakes in them: any change of a valid one, as values and as text."""

import copy
import datetime
import math
from functools import cache

import yaml
from hypothesis import strategies as st

from limbeck.recipes import packaged, parse_yaml, read_recipe
from limbeck.recipes.loading import dump_recipe, load_recipe
from limbeck.recipes.schema import Recipe

PLAIN = (
    *(None, True, False, 0, 1, -1, 2, 0.5, 10**30, 10**400, -(10**39), 1e308, -1e-300, math.nan, math.inf, -math.inf),
    *("", "x", "auto", "on", "off", "kd", "kd+dist", "+", "@", "kd@", "dist@hot", ",", ",,", "kd,kd", "1", "1e-1"),
    *("..", "/", ":", "timm:", "torchvision:", "transformers:", "sklearn:", "python:os:system", "~nosuchuser/x", "a.b"),
    *(
        "a\nb",
        "ü😀",
        "\ud800",
        "a\0b",
        "\x1b[31m",
        "\u2028",
        "x" * 5000,
        b"text",
        b"\xff\xfe",
        datetime.date(2020, 1, 1),
    ),
)
# What YAML gives a meaning to, and what its readers of numbers, dates and the like have to take.
TOKENS = (
    *("&a ", "*a", "<<: *a", "!!binary ", "!!set ", "!!omap ", "!!pairs ", "!!timestamp ", "!!int ", "!!float "),
    *(
        "!foo ",
        "!!bool ",
        "!!null ",
        "!!str ",
        "!!map ",
        "!!seq ",
        "!!merge x",
        "!!value =",
        "!<",
        "!!",
        "---\n",
        "...\n",
        "? ",
    ),
    *("%YAML 1.2\n", "%YAML 9.9\n", "- ", "[", "{", "]", "}", ":", ": ", "\t", "\0", "\x01", "\x85", "\u2028"),
    *("\ufeff", "<<"),
    *('"', "'", "|", ">", "|2\n", "#", "@", "`", "\n", "\r", "\r\n", "0x", "0b1", "0o7", "1_000", ".inf", "1e999"),
    *(".nan", "<<: 3"),
    *("1:30", "190:20:30", "2001-12-14t21:59:43.10-05:00", "2001-02-30", "~", "=", "yes", "9" * 50, "9" * 5000),
    *('"\\x', '"\\U00110000"', '"\\ud83d"', "👍", "a: " * 50, "[ " * 100, "{a: " * 100, "- " * 100, "!!int ''"),
    *("!!python/object/apply:os._exit [3]", "!!python/name:os.system", "!!python/object:os.system ", "!!bool maybe"),
    *("!!float ''", "!!int 1:x", "!!binary a", "!!timestamp x", "? [a]\n: 1\n", "? !!set {a}\n: 1\n", "!!"),
    *("? {a: b}\n: 1\n", "!!foo"),
)
KEYS = (
    *("data", "training.epochs", "method", "method.name", "student", "task", "name", "seed", "output.trackers"),
    *(
        "a.b.c",
        "",
        ".",
        "..",
        "training.",
        "data.augment",
        "compare.methods",
        "compare.settings.kd",
        "teacher.members.0.name",
    ),
    *("training.optimizer.lr", "search.settings", "Seed", "int", "a[b", "x" * 3000),
)


@cache
def recipes():
    """Every packaged recipe, as it is and with all its defaults."""
    texts = [read_recipe(name)[1] for name in packaged()] + [dump_recipe(load_recipe(name)) for name in packaged()]
    return [parse_yaml(text, "packaged") for text in texts]


@cache
def keys():
    """Every key of the packaged recipes and their defaults, and some that no recipe has."""
    names = {str(path[-1]) for recipe in recipes() for path in _paths(recipe)}
    return (*sorted(names), "Seed", "int", "a[b", "a.b", "x", "", None, 1, True)


def values():
    """Values of every type, also nested."""
    plain = st.sampled_from(PLAIN)
    names = st.sampled_from(keys()).filter(lambda key: not isinstance(key, bool))
    lists = st.recursive(plain, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=3), max_leaves=6)
    return lists | plain


@st.composite
def changed_recipes(draw):
    """A packaged recipe with up to three keys or values left out, added, renamed, moved, nested or replaced."""
    recipe = copy.deepcopy(draw(st.sampled_from(recipes())))
    for _ in range(draw(st.integers(1, 3))):
        if paths := list(_paths(recipe)):
            _change(draw, recipe, draw(st.sampled_from(paths)), paths)
    return recipe


def _change(draw, recipe, path, paths):
    *groups, key = path
    group = _at(recipe, groups)
    key_of_another = draw(st.sampled_from(keys()))
    match draw(st.sampled_from(("drop", "replace", "rename", "list", "nest", "add", "copy"))):
        case "drop":
            del group[key]
        case "replace":
            group[key] = draw(values())
        case "rename" if isinstance(group, dict):
            group[key_of_another] = group.pop(key)
        case "list":
            group[key] = [group[key]]
        case "nest":
            group[key] = {key_of_another: group[key]}
        case "add" if isinstance(group, dict):
            group[key_of_another] = draw(values())
        case _:
            group[key] = copy.deepcopy(_at(recipe, draw(st.sampled_from(paths))))


def _at(value, path):
    for key in path:
        value = value[key]
    return value


def _paths(value, path=()):
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield (*path, key)
        yield from _paths(inner, (*path, key))


@st.composite
def changed_texts(draw):
    """A packaged recipe's text with tokens of YAML put in, and pieces left out or doubled."""
    text = read_recipe(draw(st.sampled_from(packaged())))[1]
    for _ in range(draw(st.integers(1, 4))):
        place, other = draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 40))
        match draw(st.sampled_from(("token", "token", "token", "cut", "double"))):
            case "token":
                text = text[:place] + draw(st.sampled_from(TOKENS)) + text[place:]
            case "cut":
                text = text[:place] + text[place + length :]
            case _:
                text = text[:place] + text[other : other + length] + text[place:]
    return text


def overrides():
    """Lists of words as a command line has them: keys of any kind, values of YAML's tokens."""
    value = st.lists(st.sampled_from((*TOKENS, "kd", "1", "a", ",")), max_size=4).map("".join)
    pair = st.tuples(st.sampled_from((*KEYS, *map(str, keys()))), st.sampled_from(("=", "=", "=", "", "==")), value)
    return st.lists(pair.map("".join), min_size=1, max_size=3)


def names_a_key(line, recipe):
    """Whether a line begins with a key of the recipe or of the schema; values that no setting can be may have none."""
    first = line.removeprefix("recipe: ").partition(":")[0].partition(".")[0]
    known = {str(key)[:77].partition(".")[0] for key in (*recipe, *Recipe.model_fields)}
    return first in {*known, "the settings"}


def as_yaml(recipe):
    """A recipe's values as they stand after they are written and read again."""
    return yaml.safe_load(dump_recipe(recipe))
