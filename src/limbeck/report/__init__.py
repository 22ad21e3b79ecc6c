"""Reports of finished runs: the comparison's table and picture."""

from limbeck.report.boxes import save_boxes_picture
from limbeck.report.class_figures import ClassFigures
from limbeck.report.classes import save_class_picture
from limbeck.report.masks import save_masks_picture
from limbeck.report.plot import save_comparison_plot
from limbeck.report.results import MethodResult, TeacherResult
from limbeck.report.table import comparison_rows, to_csv, to_markdown, to_rich

__all__ = [
    "ClassFigures",
    "MethodResult",
    "TeacherResult",
    "comparison_rows",
    "save_boxes_picture",
    "save_class_picture",
    "save_comparison_plot",
    "save_masks_picture",
    "to_csv",
    "to_markdown",
    "to_rich",
]
