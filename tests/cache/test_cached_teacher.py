"""A cached teacher returns what the live one returns, whatever is stored, and runs it no more than needed."""

import errno
import os

import numpy as np
import pytest
import torch
from cache_parts import CLASSES, MEAN, SAMPLES, STD, Counting, network_of, spec_of, split_of, store_of, views_of

import limbeck
from limbeck.cache import CachedTeacher
from limbeck.data import Augment, Views
from limbeck.errors import UserError
from limbeck.teachers import LiveTeacher

MODES = [
    ("views", Augment(crop=1, flip=True)),
    ("views", Augment()),
    ("epochs", Augment(crop=1, flip=True)),
    ("epochs", Augment(rotation=20)),
]


@pytest.mark.parametrize(("mode", "augment"), MODES)
@pytest.mark.parametrize("batch_size", [16, 7, 49])
def test_float32_is_the_live_teacher_bit_for_bit(tmp_path, mode, augment, batch_size):
    spec = spec_of(mode, augment=augment)
    live, views = LiveTeacher(network_of()), views_of(spec, batch_size=batch_size)
    for _ in range(2):
        teacher = CachedTeacher(LiveTeacher(network_of()), store_of(tmp_path, spec))
        for epoch in (0, 1, 2, 1):
            for inputs, labels, indices in views.epoch(epoch):
                assert torch.equal(teacher(inputs, labels, indices, epoch), live(inputs, labels))


def test_what_is_stored_is_not_computed_again(tmp_path):
    spec = spec_of("epochs")
    first, second = Counting(network_of()), Counting(network_of())
    for live, share in ((first, 1.0), (second, 0.0)):
        teacher = CachedTeacher(live, store_of(tmp_path, spec))
        for epoch in range(3):
            for inputs, labels, indices in views_of(spec).epoch(epoch):
                teacher(inputs, labels, indices, epoch)
        assert live.rows == share * 3 * SAMPLES + (0 if share else 8)


def test_two_readers_see_what_either_stores(tmp_path):
    spec = spec_of()
    one, two = (CachedTeacher(Counting(network_of()), store_of(tmp_path, spec)) for _ in range(2))
    for epoch in range(2):
        for teacher in (one, two):
            for inputs, labels, indices in views_of(spec).epoch(epoch):
                teacher(inputs, labels, indices, epoch)
    assert one.live.rows + two.live.rows <= 2 * SAMPLES + 2 * 8 + SAMPLES


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("top_k", [None, 3])
def test_a_cold_and_a_warm_cache_give_the_same(tmp_path, dtype, top_k):
    spec = spec_of(dtype=dtype, top_k=top_k)
    given = []
    for _ in range(2):
        teacher = CachedTeacher(LiveTeacher(network_of()), store_of(tmp_path, spec))
        given.append(torch.cat([teacher(*batch, 0) for batch in views_of(spec).epoch(0)]))
    assert torch.equal(*given)


def test_float16_is_within_its_rounding(tmp_path):
    spec = spec_of(dtype="float16")
    live = LiveTeacher(network_of(scale=10))
    teacher = CachedTeacher(live, store_of(tmp_path, spec))
    for _ in range(2):
        for inputs, labels, indices in views_of(spec).epoch(0):
            live_logits, cached_logits = live(inputs, labels), teacher(inputs, labels, indices, 0)
            assert ((cached_logits - live_logits).abs() <= 2.0**-11 * live_logits.abs().clamp(min=2.0**-14)).all()
            assert np.array_equal(cached_logits.numpy(), live_logits.numpy().astype(np.float16).astype(np.float32))


def test_a_large_epoch_is_read_batch_by_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.cache.teacher._TABLE_BYTES", 10)
    spec, live = spec_of(), LiveTeacher(network_of())
    for _ in range(2):
        teacher = CachedTeacher(live, store_of(tmp_path, spec))
        for epoch in range(2):
            for inputs, labels, indices in views_of(spec).epoch(epoch):
                assert torch.equal(teacher(inputs, labels, indices, epoch), live(inputs, labels))
        assert teacher._table is None


def test_a_lone_row_is_the_same_as_in_a_batch():
    live, spec = LiveTeacher(network_of()), spec_of()
    batch = next(iter(views_of(spec).epoch(0)))
    live_logits = live(batch.inputs, batch.labels)
    alone = torch.cat([live(batch.inputs[i : i + 1], batch.labels[i : i + 1]) for i in range(16)])
    assert torch.equal(alone, live_logits)


def test_the_unaugmented_view_is_not_taken_for_a_training_view(tmp_path):
    for mode in ("views", "epochs"):
        spec = spec_of(mode)
        live = Counting(network_of())
        teacher = CachedTeacher(live, store_of(tmp_path, spec))
        for inputs, labels, indices in views_of(spec).epoch(0):
            teacher(inputs, labels, indices, 0)
        plain = Views(split_of(), batch_size=SAMPLES, mean=MEAN, std=STD)
        batch = next(iter(plain.epoch(0)))
        expected = live(batch.inputs, batch.labels)
        for _ in range(2):
            before = live.rows
            assert torch.equal(teacher.unaugmented(batch), expected)
        assert (live.rows == before) == (mode == "views")


def test_a_selection_over_the_training_set_uses_the_unaugmented_output(tmp_path):
    spec, network = spec_of(), network_of(scale=20)
    batches = list(Views(split_of(), batch_size=20, mean=MEAN, std=STD).epoch(0))
    masks = []
    for teacher in (LiveTeacher(network), CachedTeacher(LiveTeacher(network), store_of(tmp_path, spec))):
        method = limbeck.methods.create("select+kd", scorer="confidence", ratio=0.5)
        distiller = limbeck.Distiller(network_of(3), teacher, method)
        for batch in views_of(spec).epoch(0):
            distiller.teacher_targets(*batch, 0)
        masks.append(distiller.select(batches))
    assert torch.equal(*masks)


def test_a_live_teacher_that_can_be_made_again_is_released(tmp_path):
    spec, made = spec_of(), []

    def make():
        made.append(Counting(network_of()))
        return made[-1]

    for expected in (1, 2):
        teacher = CachedTeacher(make, store_of(tmp_path, spec))
        for epoch in range(2):
            for inputs, labels, indices in views_of(spec).epoch(epoch):
                teacher(inputs, labels, indices, epoch)
        assert len(made) == expected
    assert teacher.live is None
    assert made[1].rows == 8


def test_another_teacher_behind_the_key_is_found_at_the_start(tmp_path):
    spec = spec_of()
    batch = next(iter(views_of(spec).epoch(0)))
    CachedTeacher(LiveTeacher(network_of()), store_of(tmp_path, spec))(*batch, 0)
    teacher = CachedTeacher(LiveTeacher(network_of(1)), store_of(tmp_path, spec))
    with pytest.raises(UserError, match="stored logits differ from the live teacher's by .*limbeck cache clear"):
        teacher(*batch, 0)


def test_other_inputs_than_the_stored_ones_are_found_at_the_start(tmp_path):
    spec = spec_of()
    batch = next(iter(views_of(spec).epoch(0)))
    CachedTeacher(LiveTeacher(network_of()), store_of(tmp_path, spec))(*batch, 0)
    with pytest.raises(UserError, match="stored logits differ"):
        CachedTeacher(LiveTeacher(network_of()), store_of(tmp_path, spec))(batch.inputs + 1, *batch[1:], 0)


def test_damaged_rows_are_logged_and_made_again(tmp_path):
    spec, logged = spec_of(), []
    batches = list(views_of(spec).epoch(0))
    live = LiveTeacher(network_of())
    teacher = CachedTeacher(live, store_of(tmp_path, spec))
    expected = [teacher(*batch, 0) for batch in batches]
    slot = int(spec.place(batches[0].indices, seed=0, epoch=0)[0])
    with (teacher.store.folder / "logits.bin").open("r+b") as file:
        file.seek(slot * spec.rows.bytes)
        file.write(b"x")
    again = CachedTeacher(live, store_of(tmp_path, spec), log=logged.append)
    assert all(torch.equal(again(*batch, 0), one) for batch, one in zip(batches, expected, strict=True))
    assert len(logged) == 1
    assert "1 stored rows are damaged and made again" in logged[0]
    assert again.store.verify() == 0


def test_a_full_disk_is_logged_once_and_the_training_continues(tmp_path, monkeypatch):
    spec, logged = spec_of(), []

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    live = LiveTeacher(network_of())
    teacher = CachedTeacher(live, store_of(tmp_path, spec), log=logged.append)
    monkeypatch.setattr(os, "pwrite", full)
    for inputs, labels, indices in views_of(spec).epoch(0):
        assert torch.equal(teacher(inputs, labels, indices, 0), live(inputs, labels))
    assert len(logged) == 1
    assert "No space left on device; continuing without storing more" in logged[0]


def test_mistakes(tmp_path):
    spec = spec_of()
    batch = next(iter(views_of(spec).epoch(0)))
    with pytest.raises(UserError, match="indices: got None, expected each sample's position"):
        CachedTeacher(network_of(), store_of(tmp_path, spec))(batch.inputs, batch.labels)
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, CLASSES + 1))
    with pytest.raises(UserError, match=r"the teacher's output: got \(16, 8\), expected \(16, 7\)"):
        CachedTeacher(other, store_of(tmp_path, spec))(*batch, 0)
    with pytest.raises(UserError, match="got epoch 3, expected 0 to 2"):
        CachedTeacher(network_of(), store_of(tmp_path, spec_of("epochs")))(*batch, 3)


@pytest.mark.gpu
def test_on_a_gpu_a_full_cache_waits_for_nothing(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    spec = spec_of()
    teacher = CachedTeacher(LiveTeacher(network_of()).cuda(), store_of(tmp_path, spec))
    views = views_of(spec, device="cuda")
    first = [teacher(*batch, 0) for batch in views.epoch(0)]
    teacher = CachedTeacher(LiveTeacher(network_of()).cuda(), store_of(tmp_path, spec))
    batches = list(views.epoch(0))
    teacher(*batches[0], 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = [teacher(*batch, 0) for batch in batches]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
