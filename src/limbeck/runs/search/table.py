"""``trials.csv``: every setting that a search tried."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from limbeck.runs.search.stage import Stage
from limbeck.runs.search.trial import spent


def trials_csv(stages: Sequence[Stage]) -> str:
    """Write every trial as a line: stage, number, state, method, settings, figures at the rungs, epochs and seconds.

    Args:
        stages: The search, and its control.

    Returns:
        The text of the file. The state is ``complete`` (trained to the last epoch), ``stopped`` (at a rung), ``failed``
        or ``running``; ``validation@N`` is the figure after epoch N; settings are JSON.
    """
    rungs = sorted({rung.epoch for stage in stages for planned in stage.rounds for rung in planned})
    columns = ["stage", "trial", "round", "state", "method", "settings", "training"]
    columns += [*(f"validation@{epoch}" for epoch in rungs), "epochs", "seconds", "reason"]
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for stage in stages:
        writer.writerows(_lines(stage, rungs))
    return file.getvalue()


def _lines(stage: Stage, rungs: Sequence[int]) -> Iterator[dict[str, Any]]:
    for number in stage.study.numbers():
        point = stage.study.point(number)
        epochs, seconds = spent(stage.run_folder(number))
        figures = {f"validation@{epoch}": stage.study.value(number, epoch) for epoch in rungs}
        yield {
            "stage": stage.name,
            "trial": number,
            "round": stage.study.trial(number).user_attrs.get("round"),
            "state": stage.study.state(number),
            "method": point.method,
            "settings": json.dumps(dict(point.settings)),
            "training": json.dumps(dict(point.training)),
            **{key: value for key, value in figures.items() if value is not None},
            "epochs": epochs,
            "seconds": f"{seconds:.2f}",
            "reason": stage.study.reason(number),
        }
