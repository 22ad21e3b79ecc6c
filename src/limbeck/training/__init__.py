"""The engine: loop, optimizers, schedules, precision, checkpoints."""

from limbeck.training.device import decide, in_words, make_fabric, resolve_device, resolve_precision, uses_channels_last
from limbeck.training.engine import Engine
from limbeck.training.evaluate import Measured, measure
from limbeck.training.keeping import EpochRecord
from limbeck.training.meter import EpochMeter
from limbeck.training.optimizers import build_optimizer, build_schedule, check_schedule
from limbeck.training.progress import Position, Progress, Silent
from limbeck.training.scaling import Scaling, scale
from limbeck.training.settings import OptimizerSettings, ScheduleSettings, TrainingSettings
from limbeck.training.temperature import fit_temperature
from limbeck.training.wording import Wording, epoch_line

__all__ = [
    "Engine",
    "EpochMeter",
    "EpochRecord",
    "Measured",
    "OptimizerSettings",
    "Position",
    "Progress",
    "Scaling",
    "ScheduleSettings",
    "Silent",
    "TrainingSettings",
    "Wording",
    "build_optimizer",
    "build_schedule",
    "check_schedule",
    "decide",
    "epoch_line",
    "fit_temperature",
    "in_words",
    "make_fabric",
    "measure",
    "resolve_device",
    "resolve_precision",
    "scale",
    "uses_channels_last",
]
