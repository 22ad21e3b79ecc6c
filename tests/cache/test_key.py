"""Everything that decides a teacher's output decides which cache is its."""

import copy
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cache_parts import SAMPLES, network_of, spec_of
from dense_parts import SHAPES, Rolls, dense_spec
from torch import nn

import limbeck.runs
from limbeck.build.caching import expected_spec
from limbeck.build.teacher_store import source_hash
from limbeck.cache import CacheSpec, RowFormat, teacher_hash
from limbeck.data import Augment, load
from limbeck.errors import UserError
from limbeck.teachers import EnsembleTeacher, InputAdapter, LiveTeacher


def changed(network, change):
    other = copy.deepcopy(network)
    with torch.no_grad():
        change(other)
    return other


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net[0].weight[0, 0, 0, 0].add_(1e-6),
        lambda net: net[1].running_mean[0].add_(1e-6),
        lambda net: setattr(net[0], "stride", (2, 2)),
        lambda net: setattr(net[1], "eps", 1e-4),
        lambda net: net.__setitem__(2, nn.GELU()),
        lambda net: net.append(nn.Identity()),
    ],
)
def test_a_changed_network_is_another(change):
    network = network_of()
    assert teacher_hash(network) == teacher_hash(copy.deepcopy(network))
    assert teacher_hash(network) != teacher_hash(changed(network, change))


def test_how_the_teacher_is_used_counts():
    def adapter(mean=0.5, size=8):
        return InputAdapter((0.4,), (0.3,), (mean,), (0.3,), size=size)

    network, other = network_of(), network_of(1)
    teachers = [
        LiveTeacher(network),
        LiveTeacher(network, adapter=adapter()),
        LiveTeacher(network, adapter=adapter(mean=0.6)),
        LiveTeacher(network, adapter=adapter(size=16)),
        LiveTeacher(network, train_mode=True),
        EnsembleTeacher([network, other]),
        EnsembleTeacher([network, other], average="confidence"),
        EnsembleTeacher([other, network]),
    ]
    assert len({teacher_hash(teacher) for teacher in teachers}) == len(teachers)


def test_where_and_how_it_lies_in_memory_does_not_count():
    network = network_of()
    before = teacher_hash(network)
    assert teacher_hash(network.to(memory_format=torch.channels_last)) == before
    assert teacher_hash(network.train()) == before


def test_an_edited_forward_is_another_teacher(tmp_path, monkeypatch):
    text = (
        "from torch import nn\nclass Mine(nn.Linear):\n    def forward(self, x):\n        return super().forward({})\n"
    )
    hashes = set()
    for number, body in enumerate(("x", "2 * x", "x")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "edited_teacher.py").write_text(text.format(body))
        with monkeypatch.context() as patched:
            patched.syspath_prepend(folder)
            patched.delitem(sys.modules, "edited_teacher", raising=False)
            torch.manual_seed(0)
            hashes.add(teacher_hash(importlib.import_module("edited_teacher").Mine(2, 3)))
    sys.modules.pop("edited_teacher", None)
    assert len(hashes) == 2


NAMESAKES = """
from torch import nn
class {name}(nn.Linear):
    def forward(self, x):
        return super().forward({body})
"""


def test_classes_of_one_name_hash_alike_in_every_process(tmp_path, monkeypatch):
    """A set of classes is ordered by their addresses, which differ from process to process; here by their turn."""

    class Ordered(type):
        turn = 1

        def __hash__(cls):
            return Ordered.turn * int(cls.__module__.removeprefix("namesake_"))

    kinds = []
    for number in (1, 2, 3):
        path = tmp_path / f"namesake_{number}.py"
        path.write_text(f"# {number}")
        kind = Ordered("Block", (nn.Linear,), {"__module__": path.stem})
        monkeypatch.setitem(sys.modules, path.stem, SimpleNamespace(__file__=str(path), __name__=path.stem))
        kinds.append(kind)
    network = nn.Sequential(*(kind(2, 2) for kind in kinds))
    hashes = set()
    for Ordered.turn in (1, -1, 5):
        hashes.add(teacher_hash(network))
    assert len(hashes) == 1


@pytest.mark.parametrize("package", ["limbeck", "timm", "torch", "torchvision"])
def test_a_comment_in_a_library_makes_no_other_teacher_and_one_in_own_code_does(tmp_path, monkeypatch, package):
    """One rule for caches and for kept teachers."""
    found = {}
    for module in (f"{package}.pretended", "own_code"):
        for comment in ("# one", "# another"):
            path = tmp_path / f"{module}.py"
            path.write_text(NAMESAKES.format(name="Mine", body="x") + comment)
            spec = importlib.util.spec_from_file_location(module, path)
            made = importlib.util.module_from_spec(spec)
            with monkeypatch.context() as patched:
                patched.setitem(sys.modules, module, made)
                spec.loader.exec_module(made)
                torch.manual_seed(0)
                network = made.Mine(2, 3)
                found[module, comment] = teacher_hash(network), source_hash(network)
    library, own = (
        [found[module, comment] for comment in ("# one", "# another")]
        for module in (f"{package}.pretended", "own_code")
    )
    assert library[0] == library[1]
    assert all(one != other for one, other in zip(*own, strict=True))


def test_a_kept_teacher_does_not_depend_on_the_version_of_torch(monkeypatch):
    network = network_of()
    before = source_hash(network), teacher_hash(network)
    monkeypatch.setattr(torch, "__version__", "99.0")
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"another version")
    assert (source_hash(network), teacher_hash(network)) == before


def test_keys_differ_for_every_ingredient():
    base = {"teacher": "a", "data": "b", "mean": [0.1], "std": [0.2], "precision": ["cpu", "fp32", True]}
    spec = [spec_of(source=base)]
    spec += [spec_of(source={**base, key: "other"}) for key in base]
    spec += [
        spec_of(source=base, dtype="float16"),
        spec_of(source=base, top_k=2),
        spec_of(source=base, augment=Augment(crop=1)),
        spec_of(source=base, augment=Augment(crop=2, flip=True)),
        spec_of("epochs", source=base),
        spec_of("epochs", source=base, seed=1),
        spec_of("epochs", source=base, epochs=4),
        spec_of("epochs", source=base, augment=Augment(rotation=10)),
        CacheSpec("views", SAMPLES + 1, RowFormat(7, "float32"), Augment(crop=1, flip=True), source=base),
        CacheSpec("views", SAMPLES, RowFormat(8, "float32"), Augment(crop=1, flip=True), source=base),
    ]
    assert len({one.key for one in spec}) == len(spec)
    # All seeds share the views.
    assert spec_of(source=base, seed=1).key == spec[0].key


def test_the_unaugmented_view_is_the_one_that_changes_nothing():
    for augment in (Augment(), Augment(flip=True), Augment(crop=3), Augment(crop=2, flip=True)):
        spec = spec_of(augment=augment)
        _, view = spec.split(spec.place_unaugmented(torch.tensor([3])))
        assert [int(value) for value in augment.place(view)] == [augment.crop, augment.crop, 0]
        assert int(view) == augment.unaugmented
        assert augment.countless is None
    assert spec_of("epochs").place_unaugmented(torch.tensor([3])) is None


SOURCE = {"teacher": "t", "data": "d", "normalization": [[0.5], [0.25]], "precision": ["cpu", ["fp32"], False]}


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        (CacheSpec("views", 50, RowFormat(7), Augment(crop=1, flip=True), source=SOURCE), "04799b0b4bf571ee9072"),
        (CacheSpec("views", 3, RowFormat((7,)), source=SOURCE), "5a366276205b215ee5c2"),
        (
            CacheSpec("epochs", 50, RowFormat(7, "float32", 3), Augment(scale=(0.5, 1)), 2, 3, SOURCE),
            "a0a271b5edba7ddf93d8",
        ),
    ],
)
def test_caches_of_earlier_versions_keep_their_keys(spec, key):
    """The keys were computed when a cache could hold (N, C) logits only."""
    assert spec.key == key


def test_the_cache_of_a_recipe_keeps_its_key():
    """The key was computed by the version that wrote caches to a folder named signals."""
    training = {"device": "cpu", "precision": "fp32", "channels_last": False}
    data = {"name": "fashion_mnist_sample", "augment": {"crop": 2, "flip": True}}
    teacher = {"name": "resnet8", "cache": "views"}
    recipe = limbeck.runs.load_recipe(
        {"data": data, "student": "resnet8", "teacher": teacher, "method": "kd", "training": training}
    )
    assert expected_spec(recipe, load("fashion_mnist_sample", train_limit=100), None).key == "d53e587f4043f6cc3052"


def test_every_shape_of_an_output_is_another_cache():
    formats = [
        RowFormat(4),
        RowFormat((4, 6, 6)),
        RowFormat((4, 36)),
        RowFormat({"out": (4, 6, 6)}),
        RowFormat({"aux": (4, 6, 6)}),
        RowFormat(SHAPES),
        RowFormat({**SHAPES, "aux": (4, 6, 6)}),
        RowFormat(SHAPES, "float32"),
        RowFormat(SHAPES, top_k=2),
    ]
    specs = [CacheSpec("views", 9, rows) for rows in formats]
    assert len({spec.key for spec in specs}) == len(specs)
    assert specs[0].key == CacheSpec("views", 9, RowFormat((4,)), unit="sentences", label="something").key


def test_every_augmentation_is_another_cache():
    @dataclass(frozen=True)
    class Turns(Rolls):
        """The same settings, other views."""

    kinds = (Rolls(), Rolls(columns=2), Turns(), Augment())
    keys = {dense_spec(augment=augment).key for augment in kinds}
    assert len(keys) == len(kinds)


def test_estimates_name_what_is_stored():
    maps = dense_spec("epochs")
    assert maps.estimate.startswith("21 fields x 3 epochs x (out 4x6x6, aux 4x3x3) logits x float32 = ")
    assert maps.slots * maps.rows.bytes == 21 * 3 * (4 * 36 + 4 * 9) * 4
    assert dense_spec(top_k=2).estimate.startswith("21 fields x 3 views x top 2 of (out 4x6x6, aux 4x3x3) logits")
    bare = CacheSpec("views", 5, RowFormat((4, 6, 6)), unit="scans")
    assert bare.estimate.startswith("5 scans x 1 views x 4x6x6 logits x float16 = ")
    assert CacheSpec("views", 5, RowFormat(9, top_k=2)).estimate.startswith("5 images x 1 views x top 2 logits x ")


def test_the_sizes_of_the_issue():
    cifar = CacheSpec("views", 50_000, RowFormat(100), Augment(crop=4, flip=True))
    assert cifar.slots * cifar.rows.bytes == 162 * 50_000 * 100 * 2
    imagenet = CacheSpec("epochs", 1_281_167, RowFormat(1000, top_k=10), Augment(scale=(0.08, 1)), epochs=300)
    assert imagenet.slots * imagenet.rows.bytes < 17e9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: spec_of(augment=Augment(rotation=5)),
            "got 'views' with data.augment.rotation, .*expected 'epochs'",
        ),
        (lambda: spec_of(augment=Augment(scale=(0.5, 1))), "got 'views' with data.augment.scale"),
        (lambda: dense_spec("views", augment=Rolls(noise=1)), "got 'views' with data.augment.noise, which makes views"),
        (lambda: spec_of("epochs", epochs=0), "epochs: got 0"),
        (lambda: spec_of("epochs").place(torch.tensor([0]), seed=1, epoch=0), "got seed 1, but .* of seed 0"),
        (lambda: spec_of("epochs").place(torch.tensor([0]), seed=0, epoch=3), "got epoch 3, expected 0 to 2"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(UserError, match=message):
        call()
