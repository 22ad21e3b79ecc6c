"""Trackers: TensorBoard, Weights & Biases and MLflow get the curves and figures that a run's folder has."""

from limbeck.runs.trackers.opening import check_trackers, comparison_recipe
from limbeck.runs.trackers.sending import RunTrackers, run_name
from limbeck.runs.trackers.tracker import Tracked, Tracker

__all__ = ["RunTrackers", "Tracked", "Tracker", "check_trackers", "comparison_recipe", "run_name"]
