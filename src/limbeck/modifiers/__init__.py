"""Modifiers: what is done to both sides' logits in front of any loss, such as standardizing or a moving temperature."""

from limbeck.modifiers.base import Modified, Modifier
from limbeck.modifiers.learned import LearnedTemperature
from limbeck.modifiers.scheduled import ScheduledTemperature
from limbeck.modifiers.standardize import StandardizeLogits
from limbeck.modifiers.temperature import Temperature

__all__ = [
    "LearnedTemperature",
    "Modified",
    "Modifier",
    "ScheduledTemperature",
    "StandardizeLogits",
    "Temperature",
]
