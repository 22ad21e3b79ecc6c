"""The confusion matrix and the accuracy of each class: the figures, and what the picture shows of them."""

import warnings

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, recall_score

from limbeck.errors import UserError
from limbeck.report import ClassFigures, save_class_picture
from limbeck.report.classes import _figure


def drawn(classes, samples=2000, seed=0, teacher=True):
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=samples)
    predictions, answers = (
        np.where(random.random(samples) < right, truth, random.integers(classes, size=samples)) for right in (0.6, 0.8)
    )
    names = [f"class {number}" for number in range(classes)]
    return truth, predictions, answers, ClassFigures.of(truth, predictions, names, answers if teacher else None)


@pytest.mark.parametrize("classes", [2, 7, 130])
def test_the_figures_are_those_of_scikit_learn(classes):
    truth, predictions, answers, figures = drawn(classes)
    labels = range(classes)
    np.testing.assert_array_equal(figures.matrix, confusion_matrix(truth, predictions, labels=labels))
    expected = [recall_score(truth, made, labels=labels, average=None) for made in (predictions, answers)]
    np.testing.assert_allclose(figures.student, expected[0])
    np.testing.assert_allclose(figures.teacher, expected[1])


def test_samples_without_a_label_count_nowhere_and_a_class_without_samples_has_no_figure():
    figures = ClassFigures.of([0, -100, 1, 1], [0, 2, 0, 1], ["a", "b", "c"], [0, 0, 1, 1])
    assert figures.matrix.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(figures.student, [1, 0.5, np.nan])
    np.testing.assert_array_equal(figures.teacher, [1, 1, np.nan])


def test_confused_pairs_are_in_the_order_of_their_samples():
    matrix = [[5, 3, 0], [0, 1, 3], [4, 0, 2]]
    truth = [true for true in range(3) for count in [sum(matrix[true])] for _ in range(count)]
    predictions = [made for row in matrix for made, count in enumerate(row) for _ in range(count)]
    figures = ClassFigures.of(truth, predictions, ["a", "b", "c"])
    # Of pairs with as many samples, the one with the larger share of its true class is first.
    assert figures.confused(2) == [("c", "a", 4, 4 / 6), ("b", "c", 3, 3 / 4)]
    assert figures.confused(9)[2:] == [("a", "b", 3, 3 / 8)]
    assert ClassFigures.of([0, 1], [0, 1], ["a", "b"]).confused(9) == []


def test_up_to_thirty_classes_the_matrix_and_every_class_are_drawn():
    for count in (2, 10, 30):
        *_, figures = drawn(count)
        matrix, bars = _figure(figures, "T").axes[:2]
        shares = figures.matrix / figures.matrix.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(matrix.images[0].get_array(), 100 * shares)
        assert [label.get_text() for label in matrix.get_yticklabels()] == list(figures.classes)
        lengths = [[patch.get_width() for patch in group] for group in bars.containers]
        np.testing.assert_allclose(lengths, 100 * np.stack([figures.student, figures.teacher]))
        assert [text.get_text() for text in bars.get_legend().get_texts()] == ["student", "teacher"]


def test_few_classes_have_the_numbers_of_samples_in_the_matrix():
    *_, figures = drawn(4)
    cells = [text.get_text() for text in _figure(figures, "T").axes[0].texts]
    assert cells == [str(count) if count else "" for count in figures.matrix.flatten()]
    *_, figures = drawn(30)
    assert not _figure(figures, "T").axes[0].texts


@pytest.mark.parametrize("classes", [2, 10, 30, 31, 500])
def test_nothing_reaches_beyond_the_picture(classes):
    for name in ("{}", "a long name of a class {}"):
        truth, predictions, answers, _ = drawn(classes)
        names = [name.format(number) for number in range(classes)]
        figure = _figure(ClassFigures.of(truth, predictions, names, answers), "T")
        tight, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(tight.x0, tight.y0, width - tight.x1, height - tight.y1) >= 0


@pytest.mark.parametrize("classes", [31, 130, 1000])
def test_more_classes_have_the_most_confused_pairs_and_the_lowest_classes(classes):
    *_, figures = drawn(classes, samples=20 * classes)
    pairs, bars = _figure(figures, "T").axes[:2]
    expected = figures.confused(20)
    assert [round(patch.get_width(), 6) for patch in pairs.containers[0]] == [
        round(100 * share, 6) for *_, share in expected
    ]
    assert pairs.get_yticklabels()[0].get_text() == f"{expected[0][0]} as {expected[0][1]}"
    lowest = np.argsort(figures.student, kind="stable")[:20]
    np.testing.assert_allclose([patch.get_width() for patch in bars.containers[0]], 100 * figures.student[lowest])
    np.testing.assert_allclose([patch.get_width() for patch in bars.containers[1]], 100 * figures.teacher[lowest])


def test_without_a_teacher_there_are_the_students_bars_alone():
    *_, figures = drawn(5, teacher=False)
    assert figures.teacher is None
    bars = _figure(figures, "T").axes[1]
    assert len(bars.containers) == 1
    assert bars.get_legend() is None


def test_a_perfect_student_of_many_classes_has_no_confused_pair():
    names = [f"class {number}" for number in range(40)]
    figures = ClassFigures.of(range(40), range(40), names)
    assert [text.get_text() for text in _figure(figures, "T").axes[0].texts] == ["no sample is confused"]


def test_names_of_any_form_are_drawn_as_they_are_and_the_file_is_the_same_again(tmp_path):
    names = ["$x_", "a very long name of a class that would fill the picture", "鳥", "50 %"]
    figures = ClassFigures.of([0, 1, 2, 3], [1, 1, 0, 3], names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = [save_class_picture(figures, tmp_path / name / "classes.png", title="$T$ of it") for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    many = save_class_picture(drawn(200)[3], tmp_path / "many.png", title="T")
    for path in (paths[0], many):
        check_size(path)


def check_size(path):
    with Image.open(path) as image:
        assert min(image.size) > 300
        assert max(image.size) < 3000


def test_predictions_of_another_length_are_one_line():
    with pytest.raises(UserError, match="^predictions: got 2, expected one for each of the 3 labels"):
        ClassFigures.of([0, 1, 1], [0, 1], ["a", "b"])
    with pytest.raises(UserError, match="^predictions: got values from 0 to 2, expected 0 to 1"):
        ClassFigures.of([0, 1], [0, 2], ["a", "b"])


@pytest.mark.parametrize("count", [3, 40])
def test_a_class_without_samples_is_marked(count):
    classes = [f"class {number}" for number in range(count)]
    # The first has none; the second has one, which is wrong.
    truth = range(1, count)
    bars = _figure(ClassFigures.of(truth, [2, *truth[1:]], classes), "T").axes[1]
    names = [label.get_text() for label in bars.get_yticklabels()]
    found = [names[int(text.get_position()[1])] for text in bars.texts if text.get_text() == "no sample"]
    assert found == (["class 0"] if count == 3 else [])
