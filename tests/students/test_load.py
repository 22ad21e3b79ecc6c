"""Loaded students: inputs and predictions of raw samples equal those of the run, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import limbeck
from limbeck.build.context import Context
from limbeck.recipes.loading import load_recipe
from limbeck.runs.folder import RunFolder


def data_of(run):
    return Context(load_recipe(RunFolder(run.folder).read_recipe())).data


def measured_inputs(data):
    """The test split as the run makes it, in one batch."""
    return next(data.batches(data.test, batch_size=len(data.test)).epoch(0)).inputs


def stored(run):
    return RunFolder(run.folder).read_predictions()


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(same(*pair) for pair in zip(first, second, strict=True))
    return first.dtype == second.dtype and torch.equal(first, second)


@pytest.mark.parametrize("fixture", ["photo_run", "lowered_run"])
def test_photos(fixture, request):
    run = request.getfixturevalue(fixture)
    data, student = data_of(run), limbeck.load(run.folder)
    assert data.test.reduced
    assert same(student.inputs(data.test.paths), measured_inputs(data))
    probabilities = student.predict([str(path) for path in data.test.paths])
    assert torch.equal(probabilities.argmax(dim=1).int(), stored(run))
    # The run's own figure, from all logits.
    loss = F.nll_loss(probabilities.double().log(), data.test.labels)
    assert float(loss) == pytest.approx(run.summary["test.loss"], abs=1e-6)
    assert student.classes == ("cat", "dog", "eel")
    assert student.computing.precision == ("fp32" if fixture == "photo_run" else "bf16")


def test_a_precision_of_its_own_matters(lowered_run):
    """Without bfloat16 the probabilities would be others: the comparison above can fail."""
    data, student = data_of(lowered_run), limbeck.load(lowered_run.folder)
    inputs = student.inputs(data.test.paths)
    assert not torch.equal(student.output(inputs), student.network(inputs))


def test_images_of_pillow_and_pixels_are_inputs_too(photo_run):
    data, student = data_of(photo_run), limbeck.load(photo_run.folder / "student.safetensors")
    # Not larger than twice the input, so decoded whole.
    path = data.test.paths[3]
    expected = student.inputs([path])
    with Image.open(path) as image:
        assert same(student.inputs([image]), expected)
        array = np.array(image)
    assert same(student.inputs([array]), expected)
    assert same(student.inputs(torch.from_numpy(array).permute(2, 0, 1)[None]), expected)
    gray = Image.fromarray(array[:, :, 0])
    assert student.inputs([gray]).shape == (1, 3, 24, 24)


def test_images_in_memory(tiny, tmp_path):
    run = limbeck.run(tiny, out=tmp_path / "run")
    data, student = data_of(run), limbeck.load(run.folder)
    assert same(student.inputs(data.test.images), measured_inputs(data))
    assert same(student.inputs([image[0].numpy() for image in data.test.images]), measured_inputs(data))
    assert torch.equal(student.predict(data.test.images).argmax(dim=1).int(), stored(run))


def test_texts(text_run):
    data, student = data_of(text_run), limbeck.load(text_run.folder)
    file = Path(RunFolder(text_run.folder).read_recipe()["data"]["root"]) / "test.csv"
    assert same(student.inputs(file), measured_inputs(data))
    texts = student.preparation.samples(file)
    assert torch.equal(student.predict(list(texts)).argmax(dim=1).int(), stored(text_run))


def test_tables(table_run):
    pandas = pytest.importorskip("pandas")
    data, student = data_of(table_run), limbeck.load(table_run.folder)
    file = Path(RunFolder(table_run.folder).read_recipe()["data"]["root"]) / "test.csv"
    frame = pandas.read_csv(file)
    for given in (file, frame, frame.to_dict("list"), frame.drop(columns="kind").to_dict("records")):
        assert same(student.inputs(given), measured_inputs(data))
    assert torch.equal(student.predict(frame).argmax(dim=1).int(), stored(table_run))


def test_segmentation(mask_run):
    data, student = data_of(mask_run), limbeck.load(mask_run.folder)
    folder = Path(RunFolder(mask_run.folder).read_recipe()["data"]["root"]) / "test" / "images"
    paths = sorted(folder.iterdir())
    assert same(student.inputs(paths), measured_inputs(data))
    maps = student.predict(paths)
    assert torch.equal(maps.classes.to(torch.uint8), stored(mask_run))
    assert maps.probabilities.shape == (3, 24, 32)
    assert float(maps.probabilities.min()) >= 1 / 3
    with Image.open(paths[1]) as image:
        assert same(student.inputs([image]), student.inputs([paths[1]]))


def test_several_classes(label_run):
    data, student = data_of(label_run), limbeck.load(label_run.folder)
    probabilities = student.predict(data.test.paths)
    assert torch.equal((probabilities > 0.5).int(), stored(label_run))
    # Each class on its own.
    assert torch.equal(probabilities, student.output(student.inputs(data.test.paths)).sigmoid())


def test_detection(box_run):
    data, student = data_of(box_run), limbeck.load(box_run.folder)
    assert same(student.inputs(list(data.test.images)), measured_inputs(data))
    found = student.predict(list(data.test.images))
    output = student.output(measured_inputs(data))
    assert len(found) == 3
    for boxes, expected in zip(found, output, strict=True):
        assert torch.equal(boxes.boxes, expected["boxes"])
        assert torch.equal(boxes.classes + 1, expected["labels"])


def test_boxes_are_in_the_pixels_of_the_image_that_was_given(box_run):
    from limbeck.data.boxes.reading import Form
    from limbeck.students.boxes import BoxPreparation
    from limbeck.students.made import Made
    from limbeck.students.outputs import Boxes
    from limbeck.students.student import _in_given_pixels

    made = next(BoxPreparation(Form(size=16)).batches([torch.zeros(3, 32, 64, dtype=torch.uint8)], 1))
    boxes = Boxes(torch.tensor([[0.0, 0.0, 32.0, 16.0]]), torch.tensor([0]), torch.ones(1))
    assert isinstance(made, Made)
    assert _in_given_pixels([boxes], made)[0].boxes.tolist() == [[0.0, 0.0, 64.0, 32.0]]


def test_a_temperature_divides_logits(photo_run):
    data, student = data_of(photo_run), limbeck.load(photo_run.folder)
    logits = student.output(student.inputs(data.test.paths))
    warm = student.with_temperature(2.5).predict(data.test.paths)
    assert torch.equal(warm, (logits.float() / 2.5).softmax(dim=1))
    with pytest.raises(limbeck.UserError, match="temperature: got 0, expected a number above 0"):
        student.with_temperature(0)
