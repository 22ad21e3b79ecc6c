"""Any change of a recipe either gives one that is read again as itself, or one line that names a key."""

from hypothesis import strategies as st
from recipe_damage import as_yaml, changed_recipes, changed_texts, names_a_key, overrides

from fuzzing import Crash, amounts, damaged, fuzz
from limbeck.errors import UserError
from limbeck.recipes import packaged, read_recipe
from limbeck.recipes.loading import dump_recipe, load_recipe, parse_overrides


def checked(recipe):
    """Fail unless a valid recipe has a kind of teacher, and is the same one after it is written and read."""
    recipe.source()
    if dump_recipe(load_recipe(as_yaml(recipe), trust=True)) != dump_recipe(recipe):
        raise Crash("another recipe after it was written and read")


def load(values):
    try:
        checked(load_recipe(values))
    except UserError as error:
        if not names_a_key(str(error), values):
            raise Crash(f"expected a line that names a key, got {error}") from error
        raise


@amounts(60, 2500)
def test_changed_keys_and_values_of_every_packaged_recipe(examples, slow_counts):
    outcomes = fuzz(load, changed_recipes(), examples=examples, count=slow_counts, seconds=10)
    assert outcomes["worked"] > 0
    assert outcomes["clean errors"] > 0


@amounts(40, 1200)
def test_changed_texts(examples, slow_counts, tmp_path):
    def read(text):
        path = tmp_path / "mine.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
        checked(load_recipe(path))

    texts = [read_recipe(name)[1].encode() for name in packaged()]
    inputs = st.one_of(changed_texts(), damaged(*texts), st.text(max_size=30))
    fuzz(read, inputs, examples=examples, count=slow_counts, seconds=10)


@amounts(40, 1000)
def test_overrides_of_a_command_line(examples, slow_counts):
    def override(pairs):
        checked(load_recipe("quickstart", parse_overrides(pairs)))

    fuzz(override, overrides(), examples=examples, count=slow_counts, seconds=10)
