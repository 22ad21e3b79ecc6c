"""Students as files for other programs: exported, verified against PyTorch, and measured on this machine."""

from limbeck.export.exporting import Exported, export_student
from limbeck.export.speed import Speed, Speeds, measure_speed
from limbeck.export.speed_plot import save_speed_plot
from limbeck.export.timing import Timing
from limbeck.export.verifying import Verified

__all__ = [
    "Exported",
    "Speed",
    "Speeds",
    "Timing",
    "Verified",
    "export_student",
    "measure_speed",
    "save_speed_plot",
]
