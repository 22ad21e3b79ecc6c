"""Methods by name: published combinations of teacher, targets, selection and losses, and their grammar."""

from limbeck.methods.card import Card, Entry
from limbeck.methods.compose import create
from limbeck.methods.method import Matching, Method, Parts, TeacherKind, Term
from limbeck.methods.registry import components, entry, names

__all__ = [
    "Card",
    "Entry",
    "Matching",
    "Method",
    "Parts",
    "TeacherKind",
    "Term",
    "components",
    "create",
    "entry",
    "names",
]
