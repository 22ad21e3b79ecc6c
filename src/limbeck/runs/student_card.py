"""``student.card.md``: what a trained student is, what it reached, and how to use it, in a page beside its file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.build.teacher_settings import teacher_settings
from limbeck.data import Data
from limbeck.errors import shortened
from limbeck.files import file_digest
from limbeck.imports import PREFIX
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.recipes.schema import Recipe
from limbeck.runs.machine import versions
from limbeck.tasks import Metric, Task
from limbeck.training.scaling import SCALED_METRICS, with_scaled

_MOST_CLASSES = 100
_SOURCES = {
    "lightweight": "a lightweight teacher, trained on a generated set",
    "virtual": "none: the method makes the teacher's logits from labels",
    None: "none",
}


def student_card(
    file: Path, recipe: Recipe, data: Data, task: Task, summary: Mapping[str, Any], about: Mapping[str, Any]
) -> str:
    """Write the card of a run's student.

    Args:
        file: The student's file.
        recipe: The run's recipe.
        data: Its data.
        task: Its task.
        summary: What ``summary.json`` holds.
        about: What the file records about itself.

    Returns:
        The card, as Markdown.
    """
    parts = (
        _opening(file, recipe, data, summary),
        _usage(about, task),
        _of_data(data, about),
        _training(recipe, summary, about),
        _figures(task, data, summary),
        _license(),
        _versions(file),
    )
    return "\n".join(line for part in parts for line in (*part, ""))


def _opening(file: Path, recipe: Recipe, data: Data, summary: Mapping[str, Any]) -> Iterator[str]:
    name = recipe.student.name
    yield f"# {_inline(name)}, a student for {recipe.task.name}"
    yield ""
    size = f"{summary['student.parameters']:,} parameters, {file.stat().st_size / 1e6:,.2f} MB"
    yield f"{name} ({size}) for the {len(data.classes)} classes of {data.name}, trained by the method"
    yield f"`{recipe.method.name}` of limbeck."


def _usage(about: Mapping[str, Any], task: Task) -> Iterator[str]:
    yield "## Use"
    yield ""
    if str(about["name"]).startswith(PREFIX):
        yield f"The network is the author's own code, `{about['name']}`: loading needs it and `trust=True`."
    else:
        yield "The file runs no code when it is loaded, and needs nothing beside it."
    yield ""
    yield "```python"
    yield "import limbeck"
    yield ""
    yield 'student = limbeck.load("student.safetensors")'
    yield from _prediction(about, task)
    yield "```"
    if "kind" in about:
        yield ""
        yield "```"
        yield f"limbeck predict student.safetensors {_command_words(about)}"
        yield "```"


def _prediction(about: Mapping[str, Any], task: Task) -> Iterator[str]:
    kind = about.get("kind")
    if kind is None:
        yield "outputs = student.network.eval()  # takes inputs as the data's own code makes them"
        return
    if task.name == "segmentation":
        yield 'maps = student.predict(["photo.jpg"])'
        yield "classes = [student.classes[number] for number in maps.classes.unique()]"
        return
    if task.name == "detection":
        yield 'found = student.predict(["photo.jpg"])[0]'
        yield "classes = [student.classes[number] for number in found.classes]"
        return
    yield f"probabilities = student.predict([{_example(about)}])[0]"
    if task.name == "multilabel":
        yield "names = [name for name, share in zip(student.classes, probabilities) if share > 0.5]"
    else:
        yield "name = student.classes[int(probabilities.argmax())]"


def _example(about: Mapping[str, Any]) -> str:
    if about["kind"] == "texts":
        return '("a text", "and another")' if about.get("pair") else '"a text"'
    if about["kind"] != "table":
        return '"photo.jpg"'
    row = {name: round(value, 3) for name, value in zip(about["numeric"], about["mean"], strict=True)}
    row |= {name: entries[0] for name, entries in about["categories"].items()}
    return json.dumps(row, ensure_ascii=False)


def _command_words(about: Mapping[str, Any]) -> str:
    if about["kind"] in ("texts", "table"):
        return "new.csv"
    return "photos/ --out masks/" if about["kind"] == "masks" else "photos/"


def _of_data(data: Data, about: Mapping[str, Any]) -> Iterator[str]:
    held_out = 0 if data.validation is None else len(data.validation)
    counts = {"training": len(data.train), "validation": held_out, "test": len(data.test)}
    counts |= {"unlabeled": 0 if data.unlabeled is None else len(data.unlabeled)}
    yield "## Data"
    yield ""
    yield f"- data: {_inline(data.name)}, {data.form}"
    yield f"- {data.unit}: {', '.join(f'{count:,} {name}' for name, count in counts.items() if count)}"
    shown = ", ".join(_inline(name) for name in data.classes[:_MOST_CLASSES])
    more = f" and {len(data.classes) - _MOST_CLASSES} more" if len(data.classes) > _MOST_CLASSES else ""
    yield f"- classes ({len(data.classes)}): {shown}{more}"
    if about.get("kind") == "images" and about.get("mean"):
        yield f"- inputs: the shorter side to {about['input_shape'][2]} pixels, its center cut out, normalized by"
        yield f"  mean {_numbers(about['mean'])} and deviation {_numbers(about['std'])}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _training(recipe: Recipe, summary: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Training"
    yield ""
    yield f"- method: `{recipe.method.name}`{_settings(recipe)}"
    yield f"- teacher: {_teacher(recipe)}"
    training = recipe.training
    steps = f"{summary['epoch']} epochs in batches of {training.batch_size}"
    steps += f", {training.optimizer.name} lr {training.optimizer.lr:g}"
    yield f"- training: {steps}, {summary['precision']} on {summary['device']}, seed {recipe.seed}"
    if about.get("temperature", 1) != 1:
        yield f"- temperature: {about['temperature']:g}, by which predictions divide logits"
    yield "- `recipe.yaml` of the run has every setting"


def _settings(recipe: Recipe) -> str:
    values = {
        f"{token}.{key}": value.name if isinstance(value, Path) else value
        for token, settings in recipe.method.composed.settings.items()
        for key, value in settings.items()
    }
    listed = ", ".join(f"{key}: {shortened(value, 60, quoted=False)}" for key, value in values.items())
    return f" ({listed})" if listed else ""


def _teacher(recipe: Recipe) -> str:
    source = recipe.source()
    if source in _SOURCES:
        return _SOURCES[source]
    networks = [_network(settings) for settings in teacher_settings(recipe).values()]
    if source == "self":
        return f"{networks[0]}, the student's own kind"
    return networks[0] if len(networks) == 1 else f"the mean of {'; '.join(networks)}"


def _network(settings: NetworkTeacherSettings) -> str:
    weights = settings.weights or settings.options.get("pretrained")
    # Of a file the name alone: where it lay means nothing elsewhere.
    origin = f", weights {Path(str(weights)).name}" if weights else ""
    trained = f", trained for {settings.training.epochs} epochs" if settings.training else ""
    if settings.training and str(settings.name).startswith("sklearn:"):
        trained = ", fitted to training rows"  # It has no epochs.
    return f"{_inline(str(settings.name))}{origin}{trained}"


def _figures(task: Task, data: Data, summary: Mapping[str, Any]) -> Iterator[str]:
    metrics = [metric for metric in with_scaled(task.metrics) if f"test.{metric.name}" in summary]
    measured = any(f"teacher.test.{metric.name}" in summary for metric in metrics)
    yield "## Figures"
    yield ""
    yield f"On the {len(data.test):,} {data.unit} of the test split, on which nothing was chosen, after epoch"
    yield f"{summary.get('chosen_epoch', summary['epoch'])}."
    yield ""
    yield "| figure | student | teacher |" if measured else "| figure | student |"
    yield "|---|--:|--:|" if measured else "|---|--:|"
    for metric in metrics:
        cells = [metric.title, _text(metric, summary[f"test.{metric.name}"])]
        cells += [_text(metric, summary.get(f"teacher.test.{metric.name}"))] if measured else []
        yield f"| {' | '.join(cells)} |"
    if any(metric in SCALED_METRICS for metric in metrics):
        yield ""
        yield "Scaled: of logits divided by the temperature, as predictions are; the others of logits as they are."


def _text(metric: Metric, value: float | None) -> str:
    return "-" if value is None else metric.text(value)


def _license() -> Iterator[str]:
    yield "## License"
    yield ""
    yield "License of the weights: not given. Those of the data and of the teacher's weights may bind them."


def _versions(file: Path) -> Iterator[str]:
    yield "## Versions"
    yield ""
    yield ", ".join(f"{name} {text}" for name, text in versions().items())
    yield ""
    yield f"SHA-256 of {file.name}: `{file_digest(file)}`"


def _inline(name: str) -> str:
    """Return a name as plain text of a line of Markdown."""
    plain = shortened(name, 60, quoted=False)
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in plain)
