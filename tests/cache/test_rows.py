"""How a sample's logits are stored: what comes back, and how far from what went in."""

import copy
import math
import pickle
import re
from collections import OrderedDict

import numpy as np
import pytest
import torch

from limbeck.cache import RowFormat
from limbeck.errors import UserError


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1001])
def test_float32_comes_back_bit_for_bit(classes):
    logits = torch.randn(5, classes) * 1e10 ** torch.randn(5, classes)
    form = RowFormat(classes, "float32")
    assert form.bytes == 4 * classes
    assert torch.equal(form.decode(form.encode(logits)), logits)


@pytest.mark.parametrize("classes", [2, 3, 10, 101])
def test_float16_is_the_nearest_float16(classes):
    logits = torch.randn(50, classes) * 10
    form = RowFormat(classes)
    assert form.bytes == 4 * math.ceil(classes / 2)
    back = form.decode(form.encode(logits))
    assert np.array_equal(back.numpy(), logits.numpy().astype(np.float16).astype(np.float32))
    # Half a unit in the last of 11 bits, down to the smallest normal number of float16.
    assert ((back - logits).abs() <= 2.0**-11 * logits.abs().clamp(min=2**-14)).all()


def test_bf16_fits_in_float16():
    logits = (torch.randn(50, 10) * 10).bfloat16()
    form = RowFormat(10)
    assert torch.equal(form.decode(form.encode(logits)), logits.float())


def test_nan_and_inf_come_back():
    logits = torch.tensor([[torch.nan, torch.inf, -torch.inf, 1.0]])
    for dtype in ("float16", "float32"):
        form = RowFormat(4, dtype)
        assert form.decode(form.encode(logits)).tolist()[0][1:] == [torch.inf, -torch.inf, 1.0]
        assert form.decode(form.encode(logits))[0, 0].isnan()


def test_a_logit_too_large_for_float16():
    with pytest.raises(UserError, match="got 'float16', but a logit of the teacher is 7e\\+04, expected 'float32'"):
        RowFormat(2).encode(torch.tensor([[1.0, 70_000.0]]))


@pytest.mark.parametrize(("classes", "top_k"), [(5, 1), (10, 3), (10, 9), (40_000, 7)])
def test_top_k_keeps_the_largest_probabilities_and_shares_the_rest(classes, top_k):
    logits = torch.randn(6, classes) * 3
    form = RowFormat(classes, "float32", top_k)
    back = form.decode(form.encode(logits)).double().softmax(1)
    p = logits.double().softmax(1)
    largest, where = p.topk(top_k, dim=1)
    torch.testing.assert_close(back.gather(1, where), largest, rtol=1e-5, atol=1e-8)
    rest = (1 - largest.sum(1, keepdim=True)) / (classes - top_k)
    expected = rest.expand(-1, classes).scatter(1, where, largest)
    torch.testing.assert_close(back, expected, rtol=1e-4, atol=1e-8)


SHAPES = {
    "a row": 10,
    "a map": (5, 4, 3),
    "a volume": (3, 2, 3, 4),
    "two heads": {"out": (5, 4, 3), "aux": (5, 2, 2)},
    "a map and a row": {"masks": (3, 5, 5), "scene": 7},
    "one head": {"out": (3, 3)},
}


def output_of(shape, samples=4):
    if isinstance(shape, dict):
        return {name: output_of(part, samples) for name, part in shape.items()}
    return torch.randn(samples, *((shape,) if isinstance(shape, int) else shape)) * 5


def leaves_of(output):
    return list(output.values()) if isinstance(output, dict) else [output]


@pytest.mark.parametrize("samples", [4, 1, 0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_outputs_of_any_shape_come_back_with_their_structure(shape, samples):
    output, form = output_of(shape, samples), RowFormat(shape, "float32")
    rows = form.encode(output)
    assert rows.dtype == torch.int32
    assert rows.shape == (samples, form.words)
    # Nothing but the logits is stored.
    assert form.words == sum(math.prod(leaf.shape[1:]) for leaf in leaves_of(output)) == form.logits
    back = form.decode(rows)
    assert type(back) is type(output)
    assert not isinstance(output, dict) or list(back) == list(output)
    for found, expected in zip(leaves_of(back), leaves_of(output), strict=True):
        assert torch.equal(found, expected)
        assert found.is_contiguous()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_float16_of_any_shape_is_the_nearest_float16(shape):
    output, form = output_of(shape), RowFormat(shape)
    for found, expected in zip(leaves_of(form.decode(form.encode(output))), leaves_of(output), strict=True):
        assert np.array_equal(found.numpy(), expected.numpy().astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_top_k_of_maps_is_that_of_each_of_their_positions(shape, dtype):
    output, form = output_of(shape), RowFormat(shape, dtype, 2)
    for maps, found in zip(leaves_of(output), leaves_of(form.decode(form.encode(output))), strict=True):
        classes = maps.shape[1]
        one_by_one = RowFormat(classes, dtype, 2)
        rows = maps.movedim(1, -1).reshape(-1, classes)
        expected = one_by_one.decode(one_by_one.encode(rows)).view(*maps.movedim(1, -1).shape).movedim(-1, 1)
        torch.testing.assert_close(found, expected, rtol=1e-3 if dtype == "float16" else 1e-6, atol=1e-6)
        # The two largest are where they were; the rest is one value.
        assert torch.equal(found.argmax(1), maps.argmax(1))
        assert all(len(position.unique()) <= 3 for position in found.movedim(1, -1).reshape(-1, classes))


def test_a_map_in_another_memory_format_is_stored_alike():
    maps, form = torch.randn(2, 5, 4, 4), RowFormat((5, 4, 4), "float32")
    assert torch.equal(form.encode(maps.to(memory_format=torch.channels_last)), form.encode(maps))


def test_the_bytes_of_earlier_versions():
    """Rows that were stored when a row was always one of C logits."""
    logits = (torch.arange(21.0).reshape(3, 7) * 2654435761 % 97) / 8 - 6
    rows = torch.tensor(
        [
            [1163970048, 1136673952, -1140833728, 16000],
            [805323840, 1140900864, -1044366080, 17696],
            [-1035976512, 1124124128, -994000896, 16256],
        ]
    )
    assert torch.equal(RowFormat(7).encode(logits), rows.int())
    assert torch.equal(RowFormat(7).decode(rows.int()), logits)
    # Two largest and the rest as float16, padded to whole words, then their classes as int16.
    words = RowFormat(7, top_k=2).encode(logits)[0].numpy().view(np.int16)
    assert words[1:3].view(np.float16).tolist() == logits[0].sort(descending=True).values[:2].tolist()
    assert words[3:].tolist() == [0, *logits[0].topk(2).indices.tolist()]


class ModelOutput(OrderedDict):
    """An output as Hugging Face's: a mapping whose logits are an attribute too."""

    def __getattr__(self, name):
        if name in self:
            return self[name]
        raise AttributeError(name)


def test_an_output_with_logits_is_stored_as_these():
    logits = torch.randn(2, 3)
    output = ModelOutput(loss=None, logits=logits, hidden_states=(logits, logits))
    assert RowFormat.of(output) == RowFormat.of(logits) == RowFormat(3) == RowFormat((3,))
    form = RowFormat(3, "float32")
    for given in (output, {"logits": logits}):
        assert torch.equal(form.decode(form.encode(given)), logits)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_format_of_an_example(shape):
    form = RowFormat.of(output_of(shape), dtype="float32", top_k=2)
    assert form == RowFormat(shape, "float32", 2)
    for other in (copy.deepcopy(form), pickle.loads(pickle.dumps(form))):
        assert other == form
        assert torch.equal(other.encode(output_of(shape)).isfinite().all(), torch.tensor(True))


@pytest.mark.parametrize(
    ("output", "samples", "message"),
    [
        (
            torch.zeros(2, 5, 4, 4),
            None,
            r"got (2, 5, 4, 4), expected out (N, 5, 4, 4), aux (N, 5, 2, 2) as in its cache",
        ),
        (
            {"out": torch.zeros(2, 5, 4, 4)},
            2,
            "got out (2, 5, 4, 4), expected out (2, 5, 4, 4), aux (2, 5, 2, 2) as in",
        ),
        (
            {"out": torch.zeros(2, 5, 4, 4), "aux": torch.zeros(2, 5, 2, 3)},
            None,
            "got out (2, 5, 4, 4), aux (2, 5, 2, 3), expected out (2, 5, 4, 4), aux (2, 5, 2, 2) as in its cache",
        ),
        (
            {"out": torch.zeros(2, 5, 4, 4), "aux": torch.zeros(3, 5, 2, 2)},
            None,
            "got out (2, 5, 4, 4), aux (3, 5, 2, 2), expected out (2, 5, 4, 4), aux (2, 5, 2, 2) as in its cache",
        ),
        (
            {"out": torch.zeros(2, 5, 4, 4), "aux": torch.zeros(2, 5, 2, 2), "third": None},
            None,
            "got out (2, 5, 4, 4), aux (2, 5, 2, 2), third NoneType, expected out (2, 5, 4, 4), aux (2, 5, 2, 2) as in",
        ),
        (
            {"out": torch.zeros(2, 5, 4, 4).long(), "aux": torch.zeros(2, 5, 2, 2)},
            None,
            "got out (2, 5, 4, 4) torch.int64, aux (2, 5, 2, 2), expected out (2, 5, 4, 4), aux",
        ),
        ({"out": torch.zeros(2, 5, 4, 4), "aux": torch.zeros(2, 5, 2, 2)}, 3, "expected out (3, 5, 4, 4), aux (3, 5,"),
        ((torch.zeros(2, 5, 4, 4),), None, "got tuple, expected out (N, 5, 4, 4)"),
    ],
)
def test_outputs_of_another_structure(output, samples, message):
    form = RowFormat({"out": (5, 4, 4), "aux": (5, 2, 2)})
    with pytest.raises(UserError, match=re.escape("the teacher's output: ") + ".*" + re.escape(message)):
        form.encode(output, samples)


@pytest.mark.parametrize(
    ("output", "got"),
    [
        (torch.zeros(2), "got (2,)"),
        (torch.zeros(2, 3).int(), "got (2, 3) torch.int32"),
        ({"out": torch.zeros(2, 3), "hidden": None}, "got out (2, 3), hidden NoneType"),
        ({}, "got an empty mapping"),
        ([torch.zeros(2, 3)], "got list"),
    ],
)
def test_no_format_of_what_is_no_logits(output, got):
    with pytest.raises(UserError, match=re.escape(f"the teacher's output: {got}, expected float logits (N, C, ...)")):
        RowFormat.of(output)
    with pytest.raises(UserError, match=re.escape(f"{got}, expected (")):
        RowFormat(3).encode(output)


def test_top_k_is_small():
    assert RowFormat(1000, top_k=10).bytes == 44
    assert RowFormat(40_000, top_k=10).bytes == 4 * 6 + 40


@pytest.mark.parametrize("shape", [0, (), (3, 0), {}, {"out": ()}])
def test_an_empty_shape(shape):
    with pytest.raises(UserError, match="row format: got .*, expected shapes of logits, such as"):
        RowFormat(shape)


def test_top_k_fits_the_head_with_the_fewest_classes():
    with pytest.raises(UserError, match="teacher.cache_top_k: got 3, expected 1 to 2, fewer than the 3 classes"):
        RowFormat({"out": (5, 4, 4), "aux": (3, 4, 4)}, top_k=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float8"}, "teacher.cache_dtype: got 'float8', expected 'float16' or 'float32'"),
        ({"top_k": 10}, "teacher.cache_top_k: got 10, expected 1 to 9"),
        ({"top_k": 0}, "teacher.cache_top_k: got 0, expected 1 to 9"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(UserError, match=message):
        RowFormat(10, **arguments)
