"""Advice: a teacher's report card, and the rules from it to methods."""

from limbeck.advice.advise import Advised, advise
from limbeck.advice.card import Answers, Card, Confusion, SplitFigures, make_card
from limbeck.advice.rules import NO_TEACHER, RULES, Bound, Rule, Suggestion, changes, rule_for

__all__ = [
    "NO_TEACHER",
    "RULES",
    "Advised",
    "Answers",
    "Bound",
    "Card",
    "Confusion",
    "Rule",
    "SplitFigures",
    "Suggestion",
    "advise",
    "changes",
    "make_card",
    "rule_for",
]
