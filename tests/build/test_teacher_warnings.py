"""Which of a teacher's figures bring a warning, and its text."""

import pytest
import torch

from limbeck.build.teacher_warnings import chance_accuracy, chance_bound, teacher_warnings
from limbeck.data import Data, ImageSet
from limbeck.runs import load_recipe
from limbeck.training import Measured

WEIGHTS = {"name": "resnet8", "weights": "a.pt"}
TRAINED = {"name": "resnet8", "training": {"epochs": 1}}


def figures(accuracy, confidence, loss=1.0):
    return Measured({"accuracy": accuracy, "loss": loss, "ece": 0.1, "confidence": confidence})


def data_of(classes=10, each=100, validation=False):
    labels = torch.arange(classes).repeat(each)
    split = ImageSet(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels)
    names = tuple(map(str, range(classes)))
    held_out = split if validation else None
    return Data("mnist", names, split, held_out, split, (0.1307,), (0.3081,))


def warned(held_out, train=(1.0, 0.9), teacher=WEIGHTS, data=None, method="kd"):
    recipe = load_recipe({"data": "mnist", "student": "resnet8", "method": method, "teacher": teacher})
    data = data or data_of()
    name = "test" if data.validation is None else "validation"
    return teacher_warnings(recipe, data, {"train": figures(*train), name: figures(*held_out)})


@pytest.mark.parametrize(
    ("train", "expected"), [((0.65, 0.9), True), ((0.79, 0.9), True), ((0.81, 0.9), False), ((0.8, 0.6), False)]
)
def test_a_teacher_surer_than_right_on_what_it_teaches(train, expected):
    lines = warned((0.6, 0.9), train=train)
    assert bool(lines) is expected
    if expected:
        right = f"mean confidence {100 * train[1]:.2f} %, right on {100 * train[0]:.2f} %"
        begin = f"the teacher is surer than right on the student's training images ({right}); revise its labels"
        assert lines[0].startswith(begin)
        assert "method.weight: auto" in lines[0]


@pytest.mark.parametrize(
    ("train", "expected"), [((0.98, 0.56), True), ((0.8, 0.49), True), ((0.8, 0.51), False), ((0.9, 0.9), False)]
)
def test_a_teacher_of_small_logits(train, expected):
    lines = warned((0.75, 0.5), train=train)
    assert bool(lines) is expected
    if expected:
        right = f"mean confidence {100 * train[1]:.2f} %, right on {100 * train[0]:.2f} %"
        begin = f"the teacher is less sure than right on the student's training images ({right}); at a temperature"
        assert lines[0].startswith(begin)


@pytest.mark.parametrize(
    ("classes", "images", "near", "fine"),
    [(2, 10_000, 0.62, 0.63), (10, 10_000, 0.23, 0.24), (100, 10_000, 0.024, 0.026), (10, 30, 0.26, 0.27)],
)
def test_near_chance_depends_on_the_classes_and_the_number_of_images(classes, images, near, fine):
    assert near < chance_bound(1 / classes, images) < fine


def test_chance_is_one_class_for_all():
    assert chance_accuracy(torch.tensor([0, 1, 1, 1]), 2) == 0.75
    assert chance_accuracy(torch.arange(10), 10) == 0.1
    # 94 of 100 are right with 90 of one class: better than chance, but not by much.
    assert chance_bound(0.9, 10_000) < 0.93


@pytest.mark.parametrize(
    ("teacher", "method", "advice"),
    [
        (
            WEIGHTS,
            "kd",
            "check its weights, the order of its classes, teacher.normalize and teacher.size; without"
            " teacher.normalize its inputs are normalized as the student's, with mean 0.1307 and std 0.3081",
        ),
        (
            {**WEIGHTS, "normalize": {"mean": [0.5], "std": [0.5]}},
            "kd",
            "check its weights, the order of its classes, teacher.normalize and teacher.size",
        ),
        (
            {"members": [WEIGHTS, TRAINED]},
            "kd",
            "check its weights, the order of its classes, teacher.members.normalize and teacher.members.size; without"
            " teacher.members.normalize its inputs are normalized as the student's, with mean 0.1307 and std 0.3081",
        ),
        (TRAINED, "kd", "train it for longer or with another learning rate (teacher.training)"),
        ({}, "dr_kd", "train it for longer or with another learning rate (training)"),
    ],
)
def test_a_teacher_near_chance_and_what_to_do(teacher, method, advice):
    got = "the teacher is near chance (right on 12.00 % of the test images, one class for all would be on 10.00 %)"
    assert warned((0.12, 0.5), teacher=teacher, method=method) == (f"{got}; {advice}",)
    assert warned((0.3, 0.5), teacher=teacher, method=method) == ()


def test_nan_or_inf_logits():
    (line,) = warned((0.1, float("nan"), float("nan")))
    assert line.startswith("the teacher's logits are nan or inf on some images; check its weights, the order")


@pytest.mark.parametrize(
    ("train", "held_out", "likely"),
    [
        # Fashion-MNIST, trained on the student's 3,000 images: kd at T = 4 gave an ECE of 8.3 instead of 1.9 %.
        ((1.0, 0.997), (0.857, 0.942), True),
        # About a ResNet-56 of CIFAR-10.
        ((0.999, 0.99), (0.934, 0.97), True),
        # CIFAR-100's real teacher: nearly always right on the training images, and sure of none.
        ((0.985, 0.559), (0.8085, 0.452), False),
        # Certain with good reason.
        ((0.999, 0.998), (0.995, 0.996), False),
        ((0.9, 0.95), (0.85, 0.9), False),
    ],
)
def test_certainty_that_makes_an_overconfident_student_likely(train, held_out, likely):
    lines = warned(held_out, train=train)
    assert sum("the teacher is certain of" in line for line in lines) == likely
    if likely:
        assert (
            f"(mean confidence {100 * train[1]:.2f} %) but right on {100 * held_out[0]:.2f} % of the test" in lines[0]
        )
        assert "data.validation" in lines[0]


def test_the_validation_split_is_named_where_there_is_one():
    (line,) = warned((0.12, 0.5), data=data_of(validation=True))
    assert "12.00 % of the validation images" in line


def test_without_the_metrics_that_a_warning_needs_there_is_none():
    recipe = load_recipe({"data": "mnist", "student": "resnet8", "method": "kd", "teacher": WEIGHTS})
    for values in ({"error": 0.9}, {"error": 0.9, "confidence": 1.0}, {"accuracy": 0.9}):
        found = Measured(values)
        assert teacher_warnings(recipe, data_of(), {"train": found, "test": found}) == ()
    found = Measured({"accuracy": 0.01, "confidence": 1.0})
    dense = data_of()
    object.__setattr__(dense.test, "labels", torch.zeros(1000, 4, 4, dtype=torch.long))
    assert teacher_warnings(recipe, dense, {"train": found, "test": found}) == ()
    (warning,) = teacher_warnings(recipe, data_of(), {"train": Measured({"error": float("nan")}), "test": found})
    assert warning.startswith("the teacher's logits are nan or inf on some images; check its weights")
