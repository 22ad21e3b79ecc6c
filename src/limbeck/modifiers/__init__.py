"""Modifiers: what is done to both sides' logits in front of any loss, such as standardising or a moving temperature."""

from limbeck.modifiers.base import Modified, Modifier

__all__ = ["Modified", "Modifier"]
