"""``student.card.md`` beside each student: its figures, and a snippet that runs as it stands."""

import json
import re

import pytest
import torch
from PIL import Image

from limbeck.files import file_digest

RUNS = ("photo_run", "text_run", "table_run", "mask_run", "label_run", "box_run")


def card_of(run):
    return (run.folder / "student.card.md").read_text()


@pytest.mark.parametrize("fixture", RUNS)
def test_figures_counts_and_a_snippet_that_works(fixture, request, tmp_path, monkeypatch):
    run = request.getfixturevalue(fixture)
    card, primary = card_of(run), run.task.primary
    assert f"| {primary.title} | {primary.text(run.summary[f'test.{primary.name}'])} |" in card
    assert f"{run.summary['student.parameters']:,} parameters" in card
    assert file_digest(run.folder / "student.safetensors") in card
    assert "License of the weights: not given." in card
    code = re.search(r"```python\n(.*?)```", card, re.S)[1]
    monkeypatch.chdir(run.folder)
    Image.new("RGB", (50, 40), "red").save(tmp_path / "photo.jpg")
    names = {}
    # The run's folder takes no other files.
    exec(code.replace("photo.jpg", str(tmp_path / "photo.jpg")), names)
    found = names.get("names", names.get("classes", [names.get("name")]))
    assert set(found) <= set(names["student"].classes)


def test_the_whole_card_of_photos(photo_run):
    card = card_of(photo_run)
    for line in (
        "# resnet8, a student for classification",
        "- images: 18 training, 15 test",
        "- classes (3): cat, dog, eel",
        "- method: `none`",
        "- teacher: none",
        "limbeck predict student.safetensors photos/",
        "| accuracy |",
    ):
        assert line in card
    assert str(photo_run.folder) not in card
    assert "/tmp" not in card


def test_a_teacher_and_settings_of_a_method(tiny, tmp_path):
    import limbeck

    recipe = {**tiny, "method": {"name": "lr+kd", "eta": 0.7}}
    recipe["training"] = {**tiny["training"], "epochs": 1}
    run = limbeck.run(recipe, out=tmp_path / "run")
    card = card_of(run)
    assert "- teacher: resnet8, trained for 1 epochs" in card
    assert "lr.eta: 0.7" in card
    assert "| figure | student | teacher |" in card
    teacher = f"{100 * run.summary['teacher.test.accuracy']:.2f} %"
    assert re.search(rf"\| accuracy \| .* \| {re.escape(teacher)} \|", card)


def test_a_card_of_strange_names(tiny, tmp_path):
    import limbeck

    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    split = limbeck.data.ImageSet(images, torch.tensor([0, 1, 0, 1]))
    classes = ("a|b`c", "line\nbreak")
    limbeck.data.register(
        "strange_card", lambda: limbeck.data.Data("s", classes, split, None, split, (0.5,) * 3, (0.5,) * 3)
    )
    try:
        recipe = {**tiny, "data": "strange_card", "training": {**tiny["training"], "epochs": 1, "batch_size": 2}}
        card = card_of(limbeck.run(recipe, out=tmp_path / "run"))
    finally:
        limbeck.data.registry.REGISTRY.unregister("strange_card")
    assert r"- classes (2): a\|b\`c, line\\nbreak" in card
    assert json.dumps(card)
