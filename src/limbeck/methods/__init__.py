"""Methods by name: published combinations of teacher, targets, selection and losses, and their grammar."""

from limbeck.methods.card import Card, Entry
from limbeck.methods.compose import create
from limbeck.methods.method import Matching, Method, Parts, TeacherKind, Term
from limbeck.methods.outside import loss_entry, target_entry
from limbeck.methods.registry import components, entry, names, register, register_loss
from limbeck.validation import Settings

__all__ = [
    "Card",
    "Entry",
    "Matching",
    "Method",
    "Parts",
    "Settings",
    "TeacherKind",
    "Term",
    "components",
    "create",
    "entry",
    "loss_entry",
    "names",
    "register",
    "register_loss",
    "target_entry",
]
