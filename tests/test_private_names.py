"""Private names of other packages that the source uses: each is listed with what guards it, and is still there."""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric.wrappers import _FabricModule
from torch import nn
from torch.utils import _pytree

import limbeck

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "limbeck"
PRIVATE = re.compile(r"_(?!_)\w*[A-Za-z]\w*")
# What named tuples have as documented methods, and what Python documents of `os`.
DOCUMENTED = {"_asdict", "_replace", "_fields", "_make", "_exit"}
# Which private name of which file is guarded by which test; "here" is test_the_name_is_there with that name.
GUARDS = {
    ("cache/teacher.py", "_pytree"): "here",
    ("data/batch.py", "_pytree"): "here",
    ("distiller/features.py", "_pytree"): "here",
    ("export/inputs.py", "_pytree"): "here",
    ("models/detectors/output.py", "_pytree"): "here",
    ("models/features.py", "_pytree"): "here",
    ("tasks/gathering.py", "_pytree"): "here",
    ("teachers/live.py", "_pytree"): "here",
    ("training/compiling.py", "_pytree"): "here",
    ("training/finite_line.py", "_pytree"): "here",
    ("training/graphs.py", "_pytree"): "here",
    ("distiller/core.py", "_apply"): "here",
    ("distiller/core.py", "_load_from_state_dict"): "here",
    ("distiller/extras.py", "_apply"): "here",
    ("distiller/teacher_scale.py", "_load_from_state_dict"): "here",
    ("teachers/live.py", "_apply"): "here",
    ("losses/_blocks.py", "_C"): "here",
    ("losses/_blocks.py", "_are_functorch_transforms_active"): "here",
    ("losses/_closed_correlation.py", "_softmax_backward_data"): "here",
    ("distiller/modes.py", "_compiled_call_impl"): "here",
    ("models/features.py", "_compiled_call_impl"): "here",
    ("models/features.py", "_orig_mod"): "here",
    ("models/features.py", "_fsdp_wrapped_module"): "here",
    ("models/features.py", "_checkpoint_wrapped_module"): "here",
    ("models/features.py", "_original_module"): "here",
    ("models/freezing.py", "_BatchNorm"): "here",
    ("models/recording.py", "_version"): "here",
    ("models/text/hugging_face.py", "_name_or_path"): "here",
    ("training/arithmetic.py", "_ConvNd"): "here",
    ("training/device.py", "_is_avx512_bf16_supported"): "here",
    # What a checkpoint's file names; the names are NumPy's own, of either version.
    ("data/images/pickled.py", "_reconstruct"): "here",
    ("data/images/pickled.py", "_frombuffer"): "here",
    ("data/images/pickled.py", "_codecs"): "here",
}
# Names that only look like others': fields of a file's own classes, and the end of variables' names.
OWN = {
    ("runs/provenance.py", "_NUM_THREADS"),
    ("teachers/columns.py", "_set"),
    ("training/meter.py", "_sums"),
    ("training/under_way.py", "_began"),
}
# What metaclasses of abc and autograd put into each of their classes.
MADE = {"_abc_impl", "_backward_cls"}
# The classes of scikit-learn's fitted estimators, by the name under which skops stores them.
STORED = "models/estimators/stored.py"


def trees():
    return {str(path.relative_to(SOURCE)): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}


def own_names(parsed):
    """Names that the source itself defines or assigns."""
    names = set()
    for tree in parsed.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


def is_private(name):
    return bool(PRIVATE.fullmatch(name)) and name not in DOCUMENTED


def names_in(node, own):
    """Private names of others that a node has: attributes, imports, and names in texts."""
    if isinstance(node, ast.Attribute) and is_private(node.attr):
        of_itself = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        return [] if of_itself and node.attr in own else [node.attr]
    if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("limbeck"):
        return [name for name in [*(node.module or "").split("."), *(a.name for a in node.names)] if is_private(name)]
    if isinstance(node, ast.Import):
        return [part for alias in node.names for part in alias.name.split(".") if is_private(part)]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.]+", node.value):
        return [part for part in node.value.split(".") if is_private(part) and part not in own]
    return []


def found_names():
    parsed = trees()
    own, found = own_names(parsed), set()
    for file, tree in parsed.items():
        # The texts of an f-string are parts of names, such as "_weight".
        parts = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
        for node in ast.walk(tree):
            if id(node) not in parts:
                found |= {(file, name) for name in names_in(node, own)}
    return {(file, name) for file, name in found if file != STORED}


def test_every_private_name_has_a_guard():
    found = found_names() - OWN
    missing = sorted(found - GUARDS.keys())
    assert not missing, f"private names of others, to be replaced by public ones or guarded by a test: {missing}"
    gone = sorted(GUARDS.keys() - found)
    assert not gone, f"no longer used, to be taken off the list: {gone}"


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.cuda._lazy_init()",
        "from torch._dynamo import config",
        "import torch.nn.modules._functions",
        "def f(pool):\n    return pool._processes",
        "def f(module):\n    return getattr(module, '_backward_hooks', None)",
        "TARGET = 'torch._inductor.config'",
    ],
)
def test_the_search_finds_each_kind_of_use(text):
    assert [name for node in ast.walk(ast.parse(text)) for name in names_in(node, set())]


def version_of_batch_norm():
    return issubclass(nn.BatchNorm2d, nn.modules.batchnorm._BatchNorm)


def counts_writes():
    tensor = torch.zeros(2)
    before = tensor._version
    tensor.add_(1)
    return tensor._version > before


def moves_and_loads():
    """The hooks that a module overrides to move and load beside its children are called for each module."""

    class Watched(nn.Linear):
        calls = ()

        def _apply(self, fn, recurse=True):
            self.calls = (*self.calls, "apply")
            return super()._apply(fn, recurse)

        def _load_from_state_dict(self, *args, **more):
            self.calls = (*self.calls, "load")
            super()._load_from_state_dict(*args, **more)

    network = nn.Sequential(Watched(1, 1))
    network.double().load_state_dict(network.state_dict())
    return network[0].calls == ("apply", "load")


def compiled_in_place():
    network = nn.Linear(1, 1)
    before = network._compiled_call_impl
    network.compile(backend="eager")
    return before is None and network._compiled_call_impl is not None


def wrapped_by_compile():
    return "_orig_mod" in dict(torch.compile(nn.Linear(1, 1), backend="eager").named_children())


def wrapped_by_checkpoints():
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    return "_checkpoint_wrapped_module" in dict(checkpoint_wrapper(nn.Linear(1, 1)).named_children())


def wrapped_by_fsdp():
    return "FSDP_WRAPPED_MODULE" in dir(torch.distributed.fsdp.fully_sharded_data_parallel) and (
        torch.distributed.fsdp.fully_sharded_data_parallel.FSDP_WRAPPED_MODULE == "_fsdp_wrapped_module"
    )


def wrapped_by_fabric():
    return "_original_module" in inspect.getsource(_FabricModule.__init__)


def transforms_are_noticed():
    active = torch._C._are_functorch_transforms_active
    seen = []
    torch.func.vmap(lambda x: (seen.append(active()), x)[1])(torch.zeros(2))
    return [active(), *seen] == [False, True]


def softmax_backward():
    soft = torch.randn(3, 4, dtype=torch.float64).softmax(1)
    slope = torch.randn(3, 4, dtype=torch.float64)
    expected = soft * (slope - (slope * soft).sum(1, keepdim=True))
    torch.ops.aten._softmax_backward_data.out(slope, soft, 1, soft.dtype, grad_input=slope)
    return torch.allclose(slope, expected)


def trees_of_tensors():
    flat, spec = _pytree.tree_flatten({"a": [1, (2, 3)]})
    doubled = _pytree.tree_map_only(int, lambda value: 2 * value, {"a": [1]})
    return flat == [1, 2, 3] and _pytree.tree_unflatten(flat, spec) == {"a": [1, (2, 3)]} and doubled == {"a": [2]}


def configuration_of_transformers():
    transformers = pytest.importorskip("transformers")
    return "_name_or_path" in transformers.BertConfig().to_dict()


def numpy_core():
    major = int(np.__version__.split(".")[0])
    core = importlib.import_module("numpy._core" if major >= 2 else "numpy.core")
    return all(hasattr(core.multiarray, name) for name in ("_reconstruct", "scalar")) and hasattr(
        core.numeric, "_frombuffer"
    )


THERE = {
    "_pytree": trees_of_tensors,
    "_apply": moves_and_loads,
    "_load_from_state_dict": moves_and_loads,
    "_C": transforms_are_noticed,
    "_are_functorch_transforms_active": transforms_are_noticed,
    "_softmax_backward_data": softmax_backward,
    "_compiled_call_impl": compiled_in_place,
    "_orig_mod": wrapped_by_compile,
    "_fsdp_wrapped_module": wrapped_by_fsdp,
    "_checkpoint_wrapped_module": wrapped_by_checkpoints,
    "_original_module": wrapped_by_fabric,
    "_BatchNorm": version_of_batch_norm,
    "_version": counts_writes,
    "_name_or_path": configuration_of_transformers,
    "_ConvNd": lambda: issubclass(nn.Conv2d, nn.modules.conv._ConvNd),
    "_is_avx512_bf16_supported": lambda: torch.cpu._is_avx512_bf16_supported() in (False, True),
    "_reconstruct": numpy_core,
    "_frombuffer": numpy_core,
    "_codecs": lambda: callable(importlib.import_module("_codecs").encode),
}


@pytest.mark.parametrize("name", sorted(THERE))
def test_the_name_is_there(name):
    """A version that lacks one of them, or where it means something else, fails here by its name."""
    files = ", ".join(file for file, used in GUARDS if used == name)
    try:
        works = THERE[name]()
    except (AttributeError, ImportError) as error:
        pytest.fail(f"{name} is gone ({error}); it is used in {files}")
    assert works, f"{name} is not what it was; it is used in {files}"


def test_every_guard_exists():
    assert {name for (_, name), guard in GUARDS.items() if guard == "here"} == THERE.keys()


def test_the_stored_classes_of_estimators_are_there():
    """skops names a file's classes by their modules, which are private ones of scikit-learn."""
    from limbeck.models.estimators import stored

    texts = re.findall(r'"(sklearn\.[\w.]+)"', Path(stored.__file__).read_text())
    assert len(texts) > 10
    gone = [text for text in texts if not _is_there(text)]
    assert not gone


def _is_there(text):
    module, _, name = text.rpartition(".")
    return hasattr(importlib.import_module(module), name)


def test_no_class_overrides_another_private_name():
    """A class that shares a private name with its base overrides it, meant or not."""
    found = set()
    for module in pkgutil.walk_packages(limbeck.__path__, "limbeck."):
        if module.name.endswith("__main__"):
            continue
        for cls in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(cls) and cls.__module__.startswith("limbeck"):
                found |= {name for name in vars(cls) if is_private(name) and _is_others(cls, name)}
    assert found - MADE == {"_apply", "_load_from_state_dict"}


def _is_others(cls, name):
    others = [base for base in cls.__mro__[1:] if not base.__module__.startswith(("limbeck", "abc", "typing"))]
    return any(name in vars(base) for base in others)
