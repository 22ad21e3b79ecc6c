"""A cached teacher of a dense task: two heads of maps, inputs by name, bit for bit those of the live one."""

import copy
import pickle

import numpy as np
import pytest
import torch
from dense_parts import (
    SAMPLES,
    SHAPES,
    CountingDense,
    DenseNetwork,
    FieldReplay,
    Fields,
    Maps,
    Rolls,
    dense_spec,
    dense_store,
    dense_teacher,
)

import limbeck
from limbeck.cache import CachedTeacher, compare, fill, wanted
from limbeck.data import Augment, Batch
from limbeck.errors import UserError


def assert_same(found, expected):
    assert list(found) == list(expected) == list(SHAPES)
    for name, maps in expected.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], maps), name


def fields_of(spec, batch_size=8):
    return Fields(spec.augment, batch_size)


@pytest.mark.parametrize("batch_size", [8, 5, SAMPLES])
@pytest.mark.parametrize("mode", ["views", "epochs"])
def test_cold_and_warm_are_the_live_teacher_bit_for_bit(tmp_path, mode, batch_size):
    spec, live = dense_spec(mode), dense_teacher()
    for start in ("cold", "warm"):
        counting = CountingDense(DenseNetwork(0).eval())
        teacher = CachedTeacher(counting, dense_store(tmp_path, spec))
        for epoch in (0, 1, 2, 1):
            for batch in fields_of(spec, batch_size).epoch(epoch):
                assert_same(teacher.answer(batch, epoch), live.answer(batch, epoch))
        assert start == "cold" or counting.samples == min(8, batch_size)


def test_data_without_augmentation_has_one_view_a_sample(tmp_path):
    spec, live = dense_spec(augment=Augment()), dense_teacher()
    assert (spec.per_sample, spec.slots) == (1, SAMPLES)
    counting = CountingDense(DenseNetwork(0).eval())
    teacher = CachedTeacher(counting, dense_store(tmp_path, spec))
    for epoch in range(3):
        for batch in Fields(Rolls(columns=1)).epoch(epoch):
            assert_same(teacher.answer(batch, epoch), live.answer(batch))
            assert_same(teacher.unaugmented(batch), live.answer(batch))
    # What was stored and once read again is compared with the live teacher on the first eight samples.
    assert counting.samples == SAMPLES + 8


def test_a_large_epoch_is_read_batch_by_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.cache.teacher._TABLE_BYTES", 10)
    spec, live = dense_spec(), dense_teacher()
    for _ in range(2):
        teacher = CachedTeacher(dense_teacher(), dense_store(tmp_path, spec))
        for batch in fields_of(spec).epoch(0):
            assert_same(teacher.answer(batch), live.answer(batch))
        assert teacher.why_not_recordable() == "the teacher's rows are too many for a table on the device"


@pytest.mark.parametrize("mode", ["views", "epochs"])
def test_a_damaged_slot_is_made_again(tmp_path, mode):
    spec, live, logged = dense_spec(mode), dense_teacher(), []
    batches = list(fields_of(spec).epoch(0))
    first = CachedTeacher(dense_teacher(), dense_store(tmp_path, spec))
    for batch in batches:
        first.answer(batch)
    slot = int(spec.place(batches[1].indices, seed=0, epoch=0)[2])
    with (first.store.folder / "logits.bin").open("r+b") as file:
        file.seek(slot * spec.rows.bytes + 40)
        file.write(b"damage")
    counting = CountingDense(DenseNetwork(0).eval())
    again = CachedTeacher(counting, dense_store(tmp_path, spec), log=logged.append)
    for batch in batches:
        assert_same(again.answer(batch), live.answer(batch))
    assert counting.samples == 8 + 8
    assert len(logged) == 1
    assert "1 stored rows are damaged and made again" in logged[0]
    assert again.store.verify() == 0


def test_float16_is_the_nearest_float16(tmp_path):
    spec, live = dense_spec(dtype="float16"), dense_teacher()
    for _ in range(2):
        teacher = CachedTeacher(dense_teacher(), dense_store(tmp_path, spec))
        for batch in fields_of(spec).epoch(0):
            found, expected = teacher.answer(batch), live.answer(batch)
            for name in SHAPES:
                assert np.array_equal(found[name].numpy(), expected[name].numpy().astype(np.float16).astype(np.float32))


def test_top_k_keeps_the_largest_probabilities_of_every_position(tmp_path):
    spec, live, given = dense_spec(top_k=2), dense_teacher(), []
    for _ in range(2):
        teacher = CachedTeacher(dense_teacher(), dense_store(tmp_path, spec))
        given.append([teacher.answer(batch) for batch in fields_of(spec).epoch(0)])
    for batch, cold, warm in zip(fields_of(spec).epoch(0), *given, strict=True):
        assert_same(warm, cold)
        for name, maps in live.answer(batch).items():
            expected, found = maps.double().softmax(1), cold[name].double().softmax(1)
            largest, where = expected.topk(2, dim=1)
            torch.testing.assert_close(found.gather(1, where), largest, rtol=1e-5, atol=1e-7)
            rest = (1 - largest.sum(1, keepdim=True)) / 2
            spread = rest.expand_as(expected).scatter(1, where, largest)
            torch.testing.assert_close(found, spread, rtol=1e-4, atol=1e-7)


def test_another_teacher_is_found_at_the_start(tmp_path):
    spec = dense_spec()
    batch = next(fields_of(spec).epoch(0))
    CachedTeacher(dense_teacher(), dense_store(tmp_path, spec)).answer(batch)
    with pytest.raises(UserError, match="stored logits differ from the live teacher's by .*limbeck cache clear"):
        CachedTeacher(dense_teacher(1), dense_store(tmp_path, spec)).answer(batch)


def test_a_difference_in_the_second_head_alone_is_found(tmp_path):
    spec, other = dense_spec(), DenseNetwork(0).eval()
    with torch.no_grad():
        # Small beside the first head's logits, large beside its own.
        other.out.bias.add_(1000)
    batch = next(fields_of(spec).epoch(0))
    CachedTeacher(other, dense_store(tmp_path, spec)).answer(batch)
    changed = copy.deepcopy(other)
    with torch.no_grad():
        changed.aux.bias.add_(1)
    with pytest.raises(UserError, match="stored logits differ from the live teacher's by 1"):
        CachedTeacher(changed, dense_store(tmp_path, spec)).answer(batch)


def test_inputs_that_have_no_row_a_sample_are_compared_as_a_whole(tmp_path):
    class Shared(torch.nn.Module):
        def forward(self, fields, scale):
            maps = torch.stack([field[:1] * scale for field in fields]).repeat(1, 4, 1, 1)
            return {"out": maps, "aux": maps[:, :, ::2, ::2]}

    spec = dense_spec(augment=Augment())
    inputs = {"fields": list(torch.randn(12, 2, 6, 6)), "scale": torch.tensor(2.0)}
    batch, plain = Batch(inputs, None, torch.arange(12)), CountingDense(Shared())
    expected = plain.answer(batch)
    CachedTeacher(Shared(), dense_store(tmp_path, spec)).answer(batch)
    counting = CountingDense(Shared())
    assert_same(CachedTeacher(counting, dense_store(tmp_path, spec)).answer(batch), expected)
    assert counting.samples == 12


@pytest.mark.parametrize("way", [copy.deepcopy, lambda teacher: pickle.loads(pickle.dumps(teacher))])
def test_copied_and_pickled(tmp_path, way):
    spec = dense_spec()
    teacher = CachedTeacher(dense_teacher(), dense_store(tmp_path, spec))
    batch = next(fields_of(spec).epoch(0))
    expected = teacher.answer(batch)
    assert_same(way(teacher).answer(batch), expected)


def test_a_live_teacher_that_can_be_made_again_is_released(tmp_path):
    spec, made = dense_spec(), []

    def make():
        made.append(CountingDense(DenseNetwork(0).eval()))
        return made[-1]

    for count in (1, 2):
        teacher = CachedTeacher(make, dense_store(tmp_path, spec))
        for batch in fields_of(spec).epoch(0):
            teacher.answer(batch)
        assert len(made) == count
    assert teacher.live is None
    assert made[1].samples == 8
    assert teacher.why_not_recordable() is None


def test_filled_ahead_with_inputs_that_the_data_bring(tmp_path):
    spec, live = dense_spec(), dense_teacher()
    store, replay = dense_store(tmp_path, spec), FieldReplay(Fields(), spec)
    flags = wanted(spec, [0], epochs=2)
    assert fill(store, live, replay, slots=flags, batch_size=16) == int(flags.sum())
    assert fill(store, live, replay) == spec.slots - int(flags.sum())
    counting = CountingDense(DenseNetwork(0).eval())
    teacher = CachedTeacher(counting, store)
    for epoch in range(2):
        for batch in Fields().epoch(epoch):
            assert_same(teacher.answer(batch, epoch), live.answer(batch))
    assert counting.samples == 8
    same = compare(store, live, replay, rows=20)
    assert (same.rows, same.difference, same.same) == (20, 0.0, True)
    assert not compare(store, dense_teacher(1), replay).same


def test_large_maps_are_filled_in_small_batches(tmp_path, monkeypatch):
    spec, sizes = dense_spec(augment=Augment()), []
    monkeypatch.setattr("limbeck.cache.build._BATCH_BYTES", 1)

    class Sizes(FieldReplay):
        def batches(self, slots, *, batch_size):
            sizes.append(batch_size)
            return super().batches(slots, batch_size=batch_size)

    store = dense_store(tmp_path, spec)
    assert fill(store, dense_teacher(), Sizes(Fields(), spec)) == SAMPLES
    monkeypatch.setattr("limbeck.cache.build._BATCH_BYTES", 4 * spec.rows.logits * 19)
    compare(store, dense_teacher(), Sizes(Fields(), spec))
    assert sizes == [16, 19]


def test_a_batch_without_samples(tmp_path):
    teacher = CachedTeacher(dense_teacher(), dense_store(tmp_path, dense_spec()))
    inputs = {"field": torch.zeros(0, 2, 6, 6), "depth": torch.zeros(0, 1)}
    found = teacher.answer(Batch(inputs, None, torch.zeros(0, dtype=torch.int64)))
    assert {name: tuple(maps.shape) for name, maps in found.items()} == {n: (0, *shape) for n, shape in SHAPES.items()}


def losses_of(teacher, method, mode):
    """Train a student for three epochs and return every part of every step's loss."""
    torch.manual_seed(5)
    student = DenseNetwork(3, width=4)
    distiller = limbeck.Distiller(student, teacher, method, task=Maps(4)).train()
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for epoch in range(3):
        for batch in fields_of(dense_spec(mode)).epoch(epoch):
            out = distiller(*batch, epoch)
            optimizer.zero_grad()
            out.loss.backward()
            optimizer.step()
            losses.append({name: part.detach() for name, part in out.parts.items()})
    return losses


@pytest.mark.parametrize("mode", ["views", "epochs"])
@pytest.mark.parametrize("method", ["kd", "dist"])
def test_a_training_is_that_with_the_live_teacher_bit_for_bit(tmp_path, method, mode):
    live = losses_of(dense_teacher(), method, mode)
    assert sorted(live[0]) == ["ce", "ce.aux", method, f"{method}.aux"]
    assert len(live) == 9
    for _ in ("cold", "warm"):
        cached = CachedTeacher(dense_teacher(), dense_store(tmp_path, dense_spec(mode)))
        found = losses_of(cached, method, mode)
        for expected, parts in zip(live, found, strict=True):
            assert expected.keys() == parts.keys()
            assert all(torch.equal(part, parts[name]) for name, part in expected.items())
    assert len(cached.store) == (3 * SAMPLES if mode == "epochs" else int(wanted(cached.store.spec, [0], 3).sum()))
