"""Everything that the template of a page shows of one part, section by section, and what is left out."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from limbeck.errors import UserError
from limbeck.report.page.by_class import class_gains, selected_shares
from limbeck.report.page.differences import Difference, agreement_table, difference_samples
from limbeck.report.page.overview import headline, results_table
from limbeck.report.page.panels import Confusion, Panel, confusions, curve_panels, legend, reliability_panels
from limbeck.report.page.parts import Part, Table
from limbeck.report.page.settings import changed, command

# Of all pictures of a part together.
_PICTURE_BYTES = 1_500_000


@dataclass(frozen=True)
class Picture:
    """A picture of a run, embedded.

    Attributes:
        name: Whose it is.
        uri: It as a ``data:`` address.

    Example:
        >>> Picture("kd, seed 0", "data:image/png;base64,").name
        'kd, seed 0'
    """

    name: str
    uri: str


@dataclass(frozen=True)
class Content:
    """What a page shows of one part; a section of which nothing is there is empty.

    Attributes:
        title: What was trained on what.
        data: A line on the data.
        headline: What came out, in a few sentences.
        results: The table of the methods.
        curves: Learning curves.
        curves_of: What they are of.
        legend: What their lines are.
        reliability: Reliability diagrams.
        unscaled: Whether these leave out temperatures that runs fitted.
        confusions: Confusion matrices.
        class_gains: The figures of the classes.
        agreement: Agreement with the teacher.
        selected: Selected shares by class.
        samples: Samples on which methods differ.
        pictures: Pictures of masks or boxes.
        settings: Settings that are not their defaults, by key.
        command: What does it again.
        recipe: The whole recipe, as YAML.
        notes: Notes of the table.
        warnings: Its warnings, and failures.
        left_out: What the page lacks, and why, in lines.
        versions: What it was made with.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> content(example_part()).headline[0]
        'kd has the best test accuracy of 2 methods: 72.2 %.'
    """

    title: str
    data: str
    headline: tuple[str, ...]
    results: Table
    curves: tuple[Panel, ...]
    curves_of: str
    legend: tuple[tuple[str, str], ...]
    reliability: tuple[Panel, ...]
    unscaled: bool
    confusions: tuple[Confusion, ...]
    class_gains: Table | None
    agreement: Table | None
    selected: Table | None
    samples: tuple[Difference, ...]
    pictures: tuple[Picture, ...]
    settings: dict[str, str]
    command: str
    recipe: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]
    versions: str


def content(part: Part) -> Content:
    """Return what a page shows of a part.

    Example:
        >>> from limbeck.report.page.example import example_part
        >>> found = content(example_part())
        >>> found.class_gains.columns, found.left_out
        (('class', 'teacher', 'none', 'kd'), ('sample images: the data are not there',))
    """
    results, panels = part.results, curve_panels(part)
    samples, why = _samples(part)
    notes = [line for line in results.notes if not line.startswith("warning")]
    warnings = [line.removeprefix("warning: ") for line in results.notes if line.startswith("warning")]
    sections: dict[str, Any] = {
        "curves": tuple(panels),
        "reliability": tuple(reliability_panels(part)),
        "confusions": tuple(confusions(part)),
        "class_gains": class_gains(part),
        "agreement": agreement_table(part),
        "samples": samples,
        "pictures": tuple(_pictures(part)),
    }
    return Content(
        **sections,
        title=results.title,
        data=next(iter(part.about.description), "").removeprefix("data: "),
        headline=tuple(headline(part)),
        results=results_table(part),
        curves_of=part.primary.heading,
        legend=tuple(legend(panels, part.teacher)),
        unscaled=part.has_temperatures,
        selected=selected_shares(part),
        settings=changed(results.recipe, compared=results.compared) if results.recipe else {},
        command=_commands(part),
        recipe=yaml.safe_dump(dict(results.recipe), sort_keys=False, allow_unicode=True),
        notes=tuple(notes),
        warnings=(*warnings, *results.failures),
        left_out=tuple(_left_out(part, sections, why)),
        versions=_versions(part),
    )


def _samples(part: Part) -> tuple[tuple[Difference, ...], str]:
    if part.data is None:
        return (), part.why_no_data or "the data are not there"
    if part.labels is not None and not part.same_samples():
        return (), "the data are not those that were measured"
    try:
        return tuple(difference_samples(part)), "the methods do not differ, or the task has not one class a sample"
    except UserError as error:
        return (), str(error)


def _pictures(part: Part) -> Iterator[Picture]:
    left = _PICTURE_BYTES
    for run in map(part.first, part.complete):
        image = run.picture.read_bytes() if run.picture is not None else b""
        if image and len(image) <= left:
            left -= len(image)
            uri = f"data:image/png;base64,{base64.b64encode(image).decode()}"
            yield Picture(f"{run.method}, seed {run.seed}", uri)


def _commands(part: Part) -> str:
    results = part.results
    if results.compared:
        return command(results.recipe, results.folders[0], compared=True)
    lines = [command(run.recipe, run.folder, compared=False) for run in results.runs if run.recipe]
    return "\n".join(lines) or shlex.join(["limbeck", "run", "recipe.yaml"])


def _left_out(part: Part, sections: dict[str, Any], no_samples: str) -> Iterator[str]:
    one_class = part.about.task == "classification"
    earlier = "the runs do not store what it needs; runs of this version do"
    reasons = {
        "curves": ("learning curves", "metrics.csv is missing"),
        "reliability": ("reliability diagrams", earlier if part.about.task != "detection" else "boxes have no classes"),
        "confusions": ("confusion matrices", earlier if one_class or part.about.task == "segmentation" else ""),
        "class_gains": ("figures of each class", earlier),
        "agreement": ("agreement with the teacher", _no_agreement(part, earlier)),
        "samples": ("sample images", "" if sections["pictures"] else no_samples),
    }
    for key, (what, why) in reasons.items():
        if not sections[key]:
            yield f"{what}: {why or 'of this task there are none'}"


def _no_agreement(part: Part, earlier: str) -> str:
    if not part.results.teachers:
        return "no network teacher was measured on the test split"
    return earlier if part.about.task == "classification" else ""


def _versions(part: Part) -> str:
    run = part.results.runs[0]
    found = {k.removeprefix("versions."): v for k, v in run.summary.items() if k.startswith("versions.")}
    machine = f"{run.summary.get('device', 'cpu')}, {run.summary.get('threads', '?')} threads"
    return ", ".join([*(f"{name} {version}" for name, version in found.items()), machine])
