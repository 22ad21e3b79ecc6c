import pytest

from limbeck.errors import first_line, one_line, shortened


@pytest.mark.parametrize("limit", [20, 21, 80])
@pytest.mark.parametrize("value", ["x" * 10**6, "\udcff" * 10**6, list(range(10**6)), 10**900, {"a": "b" * 10**6}])
def test_a_long_value_keeps_its_beginning_and_its_end(value, limit):
    line = shortened(value, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert "..." in line
    assert line[0] == repr(value)[0]
    assert line[-1] == repr(value)[-1]


def test_a_value_that_fits_is_its_representation():
    assert [shortened(value) for value in ("it's", None, [1, "a"], "\n")] == ['"it\'s"', "None", "[1, 'a']", r"'\n'"]
    assert shortened(10**5000) == "a int that is too large to write"


def test_text_without_quotes_has_only_what_cannot_be_printed_escaped():
    assert shortened("a\\b 'c' \"d\"\x1b\udcff", quoted=False) == "a\\b 'c' \"d\"" + r"\x1b\udcff"


def test_errors_in_one_line():
    error = RuntimeError(" first\n\nsecond")
    assert (first_line(error), one_line(error)) == ("first", "RuntimeError: first second")
    assert (first_line(EOFError()), one_line(EOFError())) == ("EOFError", "EOFError")
