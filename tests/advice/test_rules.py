"""The rules, on constructed teachers of every kind."""

from pathlib import Path

import pytest

from constructed_teachers import answers
from limbeck import methods
from limbeck.advice import NO_TEACHER, RULES, changes, make_card, rule_for

PAGE = Path(__file__).parents[2] / "docs" / "advice.md"


def card_of(kind, **settings):
    return make_card(answers(kind), answers(kind), **settings)


@pytest.mark.parametrize(
    ("kind", "rule", "method"),
    [
        ("strong", "reliable", "dist"),
        ("noisy", "less sure than right", "lr_ds"),
        ("overconfident", "surer than right", "lr_ds"),
        ("exchanging", "surer than right", "lr_ds"),
        ("wrong labels", "errors of its own", "lr_ds"),
        ("tiny", "behind the student", "lr_ds"),
        ("near chance", "near chance", "lw_kd"),
        ("unsure", "right but unsure", "dist"),
    ],
)
def test_the_advice_for_a_kind_of_teacher(kind, rule, method):
    taken = rule_for(card_of(kind))
    assert (taken.name, taken.suggestions[0].method) == (rule, method)


def test_a_low_measured_reliability_is_stronger_than_a_good_card():
    assert rule_for(card_of("strong", reliability=0.95)).name == "reliable"
    assert rule_for(card_of("strong", reliability=0.6)).name == "unreliable by measurement"


def test_what_would_change_the_advice():
    lines = changes(card_of("strong"))
    # Ten classes and 4,000 rows: two and a half times chance.
    assert lines[0] == "lw_kd first if accuracy on held-out rows were below 23.5 % (now 94.8 %)"
    assert "lr_ds first if confidence minus accuracy on training rows were at least 10 % (now 0.2 %)" in lines
    # Its measured reliability is not known.
    assert not any("reliability" in line for line in lines)
    assert any(
        "measured reliability were below 90 % (now 95.0 %)" in x for x in changes(card_of("strong", reliability=0.95))
    )
    # Three figures speak against it, all of which would have to be otherwise.
    last = changes(card_of("exchanging"))[-1]
    assert last.startswith("dist first if confidence minus accuracy on training rows were below 10 % (now 20.0 %) and")
    assert last.count(" and ") == 2


def test_what_changes_is_taken_when_it_has_changed():
    assert rule_for(card_of("noisy")).suggestions[0].method == "lr_ds"
    (*_, line) = changes(card_of("noisy"))
    assert line == "dist first if confidence minus accuracy on training rows were at least -10 % (now -19.2 %)"


def test_every_method_that_is_named_exists_and_a_teacher_fits_the_last_rule():
    for suggestion in (*NO_TEACHER, *(one for rule in RULES for one in rule.suggestions)):
        methods.create(suggestion.method.partition("@")[0], **suggestion.settings)
        assert suggestion.measured
    assert [rule.name for rule in RULES if not rule.bounds] == [RULES[-1].name]


def test_the_page_has_the_rules():
    text = PAGE.read_text()
    for rule in RULES:
        methods_ = ", ".join(one.method for one in rule.suggestions)
        assert f"| {rule.name} | {rule.condition} | {methods_} |" in text
