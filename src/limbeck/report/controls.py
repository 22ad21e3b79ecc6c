"""What a method is worth beside its control, in words: a selection beside as many samples chosen at random."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from limbeck.report.results import MethodResult
from limbeck.report.table import gain
from limbeck.tasks import Metric


def control_notes(results: Sequence[MethodResult], controls: Mapping[str, str], metric: Metric) -> list[str]:
    """Compare methods with their controls by the primary metric, whatever comes out.

    Args:
        results: The methods' results.
        controls: The method of each control, by name.
        metric: The primary metric.

    Returns:
        A line for each pair of which all seeds are complete.

    Example:
        >>> accuracies = {"lr_ds": (0.80, 0.82), "lr_ds@random": (0.81, 0.84)}
        >>> results = [MethodResult(n, {"accuracy": a}, None, (9.0, 9.0), None, None) for n, a in accuracies.items()]
        >>> control_notes(results, {"lr_ds@random": "lr_ds"}, Metric("accuracy", "accuracy", share=True))
        ['lr_ds is behind its control lr_ds@random: accuracy -1.5 (by seed -1.0, -2.0)']
    """
    figures = {result.method: result.figures.get(metric.name, ()) for result in results if not result.failures}
    pairs = [(base, control) for control, base in controls.items() if figures.get(base) and figures.get(control)]
    return [_line(base, control, figures, metric) for base, control in pairs]


def _line(base: str, control: str, figures: Mapping[str, Sequence[float]], metric: Metric) -> str:
    by_seed = [one - other for one, other in zip(figures[base], figures[control], strict=True)]
    mean = gain(metric, fmean(by_seed))
    seeds = ", ".join(gain(metric, difference) for difference in by_seed)
    standing = {"+": "is ahead of", "-": "is behind"}[mean[0]] if mean.strip("+-0.") else "is level with"
    return f"{base} {standing} its control {control}: {metric.title} {mean} (by seed {seeds})"
