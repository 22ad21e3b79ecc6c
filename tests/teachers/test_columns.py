"""The logits of the classes that a student learns, from the columns of a network with others."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from torch import nn

from limbeck import Distiller
from limbeck.cache import teacher_hash
from limbeck.cache.key import structure
from limbeck.errors import UserError
from limbeck.teachers import ClassColumns, EnsembleTeacher, LiveTeacher

LOGITS = np.random.default_rng(0).normal(size=(5, 7)) * 20


def test_a_column_for_each_class_is_that_column_in_its_own_precision():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        logits = torch.tensor(LOGITS).to(dtype)
        chosen = ClassColumns([6, 0, 2])(logits)
        assert chosen.dtype == dtype
        assert torch.equal(chosen, logits[:, [6, 0, 2]])


def test_several_columns_of_a_class_have_the_sum_of_their_probabilities():
    groups = [(1, 4, 5), (6,), (0, 2)]
    expected = np.stack([logsumexp(LOGITS[:, group], axis=1) for group in groups], axis=1)
    logits = ClassColumns(groups)(torch.tensor(LOGITS))
    np.testing.assert_allclose(logits, expected, rtol=1e-12)
    # The probability of a class, given that it is one of these.
    whole = softmax(LOGITS, axis=1)
    shares = np.stack([whole[:, group].sum(axis=1) for group in groups], axis=1)
    np.testing.assert_allclose(logits.softmax(dim=1), shares / shares.sum(axis=1, keepdims=True), rtol=1e-9)


def test_sums_in_half_precision_are_computed_in_float32():
    logits = ClassColumns([(0, 1), 2])(torch.full((1, 3), 300.0, dtype=torch.bfloat16))
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits, [[300 + np.log(2), 300]], rtol=1e-6)


def test_maps_mappings_and_empty_batches_keep_their_shape():
    maps = torch.randn(2, 7, 3, 4)
    columns = ClassColumns([(1, 4), 6])
    rows = columns(maps.movedim(1, 3).flatten(0, 2))
    assert torch.equal(columns({"out": maps}).movedim(1, 3).flatten(0, 2), rows)
    assert columns(torch.zeros(0, 7)).shape == (0, 2)
    assert ClassColumns([3])(torch.zeros(2, 7)).shape == (2, 1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "columns: got none, expected a column for each class"),
        ([0, -1], "class 1: got -1, expected a column, from 0, or a list of columns"),
        ([0, True], "class 1: got True, expected a column"),
        ([0, []], r"class 1: got \[\], expected a column"),
        ([0, [2, "a"]], "class 1: got 'a', expected a column"),
        ([0, [2, 0]], "column 0: got it for class 0 and class 1, expected each column once"),
        ([[3, 3], 1], "column 3: got it twice for class 0, expected each column once"),
    ],
)
def test_bad_columns_are_one_line(columns, message):
    with pytest.raises(UserError, match=f"^{message}"):
        ClassColumns(columns)


def test_columns_by_name_are_in_the_order_of_the_classes():
    classes = ("bird", "dog", "fish")
    named = ClassColumns.named({"fish": 4, "bird": [1, 2], "dog": 0}, classes)
    listed = ClassColumns.named([[1, 2], 0, 4], classes)
    logits = torch.tensor(LOGITS)
    assert torch.equal(named(logits), listed(logits))
    assert torch.equal(named(logits)[:, 2], logits[:, 4])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"bird": 0, "dgo": 1}, "unknown class 'dgo'; did you mean 'dog'?"),
        ({"bird": 0}, "class 'dog': has no column, expected one for each of the 2 classes"),
        ([0, 1, 2], "got 3 columns, expected 2, one for each class in the order bird, dog"),
        ({"bird": 0, "dog": 0}, "column 0: got it for class 'bird' and class 'dog', expected each column once"),
        ({"bird": 0, "dog": "x"}, "class 'dog': got 'x', expected a column"),
        ("columns", "got 'columns', expected columns by class name, or a list of them"),
    ],
)
def test_columns_that_do_not_fit_the_classes_are_one_line(columns, message):
    with pytest.raises(UserError, match=message):
        ClassColumns.named(columns, ("bird", "dog"))


def test_a_column_that_the_network_lacks_is_named():
    with pytest.raises(UserError, match="class 'dog': got column 9, but the output has 7, expected at most column 6"):
        ClassColumns.named({"bird": 0, "dog": 9}, ("bird", "dog"))(torch.zeros(2, 7))


def networks():
    torch.manual_seed(0)
    return nn.Linear(4, 3), nn.Linear(4, 7)


def test_a_loop_of_ones_own_takes_it_behind_the_network_or_within_the_teacher():
    student, network = networks()
    columns, inputs, labels = ClassColumns([6, 0, (2, 3)]), torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    behind = Distiller(copy.deepcopy(student), nn.Sequential(network, columns), method="dist")
    within = Distiller(copy.deepcopy(student), LiveTeacher(network, columns=columns), method="dist")
    losses = [distiller(inputs, labels).loss for distiller in (behind, within)]
    assert losses[0] == losses[1]
    losses[1].backward()
    assert within.student.weight.grad.abs().sum() > 0
    assert network.weight.grad is None
    assert not any("columns" in name for name in within.state_dict())


def test_each_member_of_an_ensemble_has_columns_of_its_own():
    _, network = networks()
    other, inputs = nn.Linear(4, 3), torch.randn(5, 4)
    teacher = EnsembleTeacher([LiveTeacher(network, columns=ClassColumns([6, 0, 2])), other])
    expected = (network(inputs)[:, [6, 0, 2]] + other(inputs)) / 2
    assert torch.allclose(teacher(inputs, None), expected)


def test_features_are_those_of_the_network_and_logits_those_of_the_classes():
    student = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3))
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Flatten(), nn.Linear(6 * 36, 7))
    teacher = LiveTeacher(network, columns=ClassColumns([6, 0, 2]))
    layers = {"student_layers": ["0"], "teacher_layers": ["0"], "example": torch.zeros(2, 1, 8, 8)}
    distiller = Distiller(student, teacher, method="kd+fitnet", **layers)
    parts = distiller(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])).parts
    assert {"kd", "fitnet"} <= {name.partition(".")[0] for name in parts}


def test_columns_count_for_the_key_of_a_cache_and_none_leave_it_as_it_was():
    _, network = networks()
    hashes = [teacher_hash(LiveTeacher(network, columns=ClassColumns(c))) for c in ([1, 0], [0, 1], [(0, 1)], [0])]
    plain = teacher_hash(LiveTeacher(network))
    assert len({*hashes, plain}) == 5
    assert "columns" not in structure(LiveTeacher(network))


@pytest.mark.parametrize("columns", [[2, 0], [[2, 1], 0]])
def test_columns_follow_the_logits_to_their_device(columns):
    chosen = ClassColumns(columns)(torch.empty(3, 4, device="meta"))
    assert (chosen.shape, chosen.device.type) == ((3, 2), "meta")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassColumns([1, 0])(torch.zeros(3)), r"the output: got shape \(3,\), expected \(N, K, ...\) logits"),
        (lambda: ClassColumns(5), "columns: got 5, expected a list with an entry for each class"),
        (lambda: ClassColumns([[1, 1], 0]), "column 1: got it twice for class 0, expected each column once"),
    ],
)
def test_what_is_no_column_or_output_is_named(make, message):
    with pytest.raises(UserError, match=message):
        make()
