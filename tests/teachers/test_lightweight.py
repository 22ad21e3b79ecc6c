import copy
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from limbeck.errors import UserError
from limbeck.teachers.base import Teacher
from limbeck.teachers.lightweight import LightweightBank, LightweightNet, LightweightTeacher, train_lightweight


def numbered_bank(num_classes=5, per_class=8, dtype=torch.float32):
    """Row n of class k holds 100 k + n everywhere, so that a row shows where it came from."""
    rows = 100 * torch.arange(num_classes)[:, None, None] + torch.arange(per_class)[None, :, None]
    return LightweightBank(rows.repeat(1, 1, num_classes).to(dtype), accuracy=0.99, seed=3)


@pytest.fixture(scope="module")
def ten_classes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return train_lightweight(10)


@pytest.mark.parametrize("num_classes", [2, 10, 100, 1000])
def test_net_is_small(num_classes):
    net = LightweightNet(num_classes)
    assert sum(p.numel() for p in net.parameters()) <= 300_000
    assert net(torch.randint(256, (3, 1, 32, 32), dtype=torch.uint8)).shape == (3, num_classes)


@pytest.mark.parametrize("num_classes", [1, 1001])
def test_net_refuses_numbers_of_classes(num_classes):
    with pytest.raises(UserError, match="num_classes"):
        LightweightNet(num_classes)


def test_default_training_is_good(ten_classes):
    assert ten_classes.accuracy >= 0.97
    assert ten_classes.logits.shape == (10, 128, 10)
    assert ten_classes.logits.dtype == torch.float16
    right = ten_classes.logits.argmax(dim=2) == torch.arange(10)[:, None]
    assert right.double().mean() >= 0.97


def test_trained_targets_vary_within_a_class(ten_classes):
    soft = (ten_classes.logits.float() / 4).softmax(dim=2)
    assert (soft.std(dim=1).diagonal() > 0.005).all()


def test_two_classes_are_good():
    assert train_lightweight(2).accuracy >= 0.97


def test_a_hundred_classes_are_good_with_fewer_samples():
    assert train_lightweight(100, per_class=70, epochs=4, bank_size=2).accuracy >= 0.97


def test_training_is_reproducible_and_touches_no_global_generator():
    state = torch.get_rng_state()
    first = train_lightweight(2, per_class=200, bank_size=4, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(12345)
    again = train_lightweight(2, per_class=200, bank_size=4, seed=1)
    other = train_lightweight(2, per_class=200, bank_size=4, seed=2)
    assert torch.equal(first.logits, again.logits)
    assert first.accuracy == again.accuracy
    assert not torch.equal(first.logits, other.logits)
    assert (first.seed, other.seed) == (1, 2)


@pytest.mark.parametrize("ambient", [torch.no_grad, torch.inference_mode])
def test_trains_where_gradients_are_off(ambient):
    with ambient():
        bank = train_lightweight(2, per_class=200, bank_size=4)
    assert bank.accuracy >= 0.97


def test_a_weak_teacher_warns():
    with pytest.warns(UserWarning, match=r"% right on held-out samples, below 97%") as caught:
        bank = train_lightweight(10, per_class=1, epochs=1, bank_size=1)
    assert bank.accuracy < 0.97
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", ["per_class", "epochs", "bank_size"])
def test_training_refuses_nothing_to_do(name):
    with pytest.raises(UserError, match=f"{name}: got 0, expected a whole number of at least 1"):
        train_lightweight(10, **{name: 0})


def test_training_refuses_numbers_of_classes_and_sources(tmp_path):
    with pytest.raises(UserError, match="num_classes: got 1001"):
        train_lightweight(1001)
    with pytest.raises(UserError, match=r"^source: train-images-idx3-ubyte or .* is not in"):
        train_lightweight(10, source=tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_bank_round_trip(tmp_path, dtype):
    bank = LightweightBank(torch.randn(3, 4, 3).to(dtype), accuracy=0.98765432109, seed=-7)
    path = tmp_path / "new" / "bank.safetensors"
    bank.save(path)
    loaded = LightweightBank.load(path)
    assert torch.equal(loaded.logits, bank.logits)
    assert loaded.logits.dtype == dtype
    assert (loaded.accuracy, loaded.seed) == (0.98765432109, -7)


def test_one_changed_bit_of_a_bank_is_noticed(tmp_path):
    path = tmp_path / "bank.safetensors"
    LightweightBank(torch.zeros(3, 4, 3), accuracy=0.99).save(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"bank\.safetensors: is damaged, its logits are not those that were written"):
        LightweightBank.load(path)


def test_bank_refuses_files(tmp_path):
    with pytest.raises(UserError, match=r"gone\.safetensors: cannot be read"):
        LightweightBank.load(tmp_path / "gone.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="cannot be read"):
        LightweightBank.load(broken)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(1)}, other)
    with pytest.raises(UserError, match="got format none, expected a lightweight bank"):
        LightweightBank.load(other)
    save_file({"weight": torch.zeros(1)}, other, {"format": "limbeck.lightweight_bank.1"})
    with pytest.raises(UserError, match="expected a lightweight bank"):
        LightweightBank.load(other)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (3, 0, 3), (0, 4, 0)])
def test_bank_refuses_shapes(shape):
    with pytest.raises(UserError, match=r"got logits of shape \(.*expected \(classes, samples, classes\)"):
        LightweightBank(torch.zeros(shape), accuracy=1.0)


def test_bank_refuses_types_and_accuracies():
    with pytest.raises(UserError, match=r"got logits of torch\.int64"):
        LightweightBank(torch.zeros(2, 2, 2, dtype=torch.int64), accuracy=1.0)
    for accuracy in (-0.1, 97.0, float("nan")):
        with pytest.raises(UserError, match=f"got accuracy {accuracy}, expected 0 to 1"):
            LightweightBank(torch.zeros(2, 2, 2), accuracy=accuracy)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_logits_come_from_the_class_and_vary_by_instance(dtype):
    teacher = LightweightTeacher(numbered_bank(dtype=dtype))
    labels = torch.arange(5).repeat(200)
    answer = teacher(None, labels, torch.arange(1000), 0)
    assert answer.shape == (1000, 5)
    assert answer.dtype == torch.float32
    assert not answer.requires_grad
    assert torch.equal(answer[:, 0] // 100, labels.float())
    draws = (answer[:, 0] % 100).long()
    for k in range(5):
        assert torch.bincount(draws[labels == k], minlength=8).min() > 8


def test_logits_are_a_function_of_seed_epoch_and_index():
    labels, indices = torch.arange(5).repeat(40), torch.arange(200)
    teacher = LightweightTeacher(numbered_bank(), seed=4)
    answer = teacher(None, labels, indices, 2)
    order = torch.randperm(200)
    assert torch.equal(teacher(torch.zeros(200, 3), labels[order], indices[order], 2), answer[order])
    assert torch.equal(LightweightTeacher(numbered_bank(), seed=4)(None, labels[:7], indices[:7], 2), answer[:7])
    for other in (
        teacher(None, labels, indices, 3),
        LightweightTeacher(numbered_bank(), seed=5)(None, labels, indices, 2),
    ):
        assert 0.05 < (other == answer).double().mean() < 0.25


def test_without_indices_the_global_generator_draws():
    teacher = LightweightTeacher(numbered_bank())
    labels = torch.arange(5).repeat(40)
    torch.manual_seed(0)
    first, second = teacher(None, labels, None, 0), teacher(None, labels, None, 0)
    torch.manual_seed(0)
    assert torch.equal(teacher(None, labels, None, 9), first)
    assert not torch.equal(first, second)
    assert torch.equal(first[:, 0] // 100, labels.float())


@pytest.mark.parametrize("indices", [None, torch.arange(3)])
def test_class_mean(indices):
    bank = LightweightBank(torch.randn(4, 6, 4), accuracy=0.99)
    labels = torch.tensor([3, 0, 3])
    answer = LightweightTeacher(bank, class_mean=True)(None, labels, indices, 1)
    assert torch.allclose(answer, bank.logits.mean(dim=1)[labels])


def test_it_takes_the_arguments_of_every_teacher():
    teacher = LightweightTeacher(numbered_bank())
    labels = torch.arange(5)
    assert isinstance(teacher, Teacher)
    assert torch.equal(teacher(None, labels, labels, epoch=2), teacher.logits(None, labels, labels, 2))
    assert torch.equal(teacher(None, labels)[:, 0] // 100, labels.float())


def test_empty_batch():
    empty = torch.zeros(0, dtype=torch.int64)
    assert LightweightTeacher(numbered_bank())(None, empty, empty, 0).shape == (0, 5)


def test_is_in_no_state_dict_and_moves_with_its_module():
    teacher = LightweightTeacher(numbered_bank())
    parent = nn.ModuleDict({"teacher": teacher, "student": nn.Linear(2, 2)})
    assert not teacher.state_dict()
    assert not list(teacher.parameters())
    assert set(parent.state_dict()) == {"student.weight", "student.bias"}
    assert torch.equal(copy.deepcopy(teacher).bank, teacher.bank)
    assert parent.to("meta")["teacher"].bank.device.type == "meta"


@pytest.mark.parametrize("indices", [None, torch.arange(3)])
def test_a_call_reads_no_value_back(indices):
    # A meta tensor has no values: whatever would wait for a device raises here.
    teacher = LightweightTeacher(numbered_bank()).to("meta")
    answer = teacher(None, torch.tensor([0, 1, 2]).to("meta"), indices if indices is None else indices.to("meta"), 0)
    assert answer.shape == (3, 5)


@pytest.mark.gpu
def test_on_a_gpu_without_a_sync():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    teacher = LightweightTeacher(numbered_bank())
    labels, indices = torch.arange(5), torch.arange(5)
    expected = teacher(None, labels, indices, 1)
    teacher, labels, indices = teacher.cuda(), labels.cuda(), indices.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        answer = teacher(None, labels, indices, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(answer.cpu(), expected)


@pytest.mark.parametrize("label", [-100, -1, 5, 255])
def test_refuses_labels_out_of_range(label):
    teacher = LightweightTeacher(numbered_bank())
    labels = torch.tensor([0, label])
    for indices in (None, torch.arange(2)):
        with pytest.raises(UserError, match="a label is not within 0 to 4"):
            teacher(None, labels, indices, 0)
    with pytest.raises(UserError, match=r"got labels .* expected 0 to 4"):
        teacher.check(5, labels)


def test_check_accepts_what_fits():
    teacher = LightweightTeacher(numbered_bank())
    teacher.check(5)
    teacher.check(5, torch.tensor([[0, 4]]))
    teacher.check(5, torch.zeros(0, dtype=torch.int64))
    with pytest.raises(UserError, match="was trained for 5 classes, but the task has 10"):
        teacher.check(10)


@pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(3, dtype=torch.int32), torch.zeros(3, 1).long()])
def test_refuses_other_labels_and_indices(labels):
    teacher = LightweightTeacher(numbered_bank())
    with pytest.raises(UserError, match=r"got labels .* expected torch\.int64 of shape \(batch,\)"):
        teacher(None, labels, None, 0)
    with pytest.raises(UserError, match=r"got indices .* expected torch\.int64 of shape \(batch,\)"):
        teacher(None, torch.zeros(3, dtype=torch.int64), labels, 0)


def test_refuses_indices_that_do_not_match():
    with pytest.raises(UserError, match="got 1 indices for 3 labels, expected one each"):
        LightweightTeacher(numbered_bank())(None, torch.zeros(3).long(), torch.zeros(1).long(), 0)
