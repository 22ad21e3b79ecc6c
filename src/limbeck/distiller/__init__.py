"""``Distiller``: a student, a teacher and a method as one module."""

from limbeck.distiller.core import Distiller
from limbeck.distiller.output import Output

__all__ = ["Distiller", "Output"]
