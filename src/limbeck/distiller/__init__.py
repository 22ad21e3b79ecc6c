"""``Distiller``: a student, a teacher and a method as one module."""

from limbeck.distiller.core import Distiller, Output

__all__ = ["Distiller", "Output"]
