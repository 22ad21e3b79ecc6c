"""Tables and series: rows of numbers and categories, in files or bundled with scikit-learn."""

from limbeck.data.tables.augment import TableAugment
from limbeck.data.tables.data import TableData, TableRows, TableSet
from limbeck.data.tables.preparation import Preparation, prepare

__all__ = ["Preparation", "TableAugment", "TableData", "TableRows", "TableSet", "prepare"]
