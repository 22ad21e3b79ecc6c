"""Semantic label smoothing and truncation of the teacher, and the components made of them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import limbeck
from limbeck.errors import UserError
from limbeck.losses import kd_loss
from limbeck.targets import SemanticTarget, semantic_smoothing, truncate_logits


def rows(n=9, c=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, c, generator=generator, dtype=torch.float64)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("rest", ["spread", "drop"])
@pytest.mark.parametrize("k", [1, 2, 6, 7, 50])
def test_truncation_equals_numpy(k, rest):
    z = rows()
    expected = softmax(z.numpy())
    for row in expected:
        kept = np.argsort(-row)[:k]
        others = np.setdiff1d(np.arange(7), kept)
        if rest == "drop":
            row[others] = 0
            row /= row.sum()
        elif len(others):
            row[others] = (1 - row[kept].sum()) / len(others)
    out = truncate_logits(z, k, rest=rest)
    np.testing.assert_allclose(out.softmax(1).numpy(), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(out.softmax(1).sum(1).numpy(), 1)


def test_what_is_kept_keeps_its_logits_and_the_teachers_tensor_is_not_written_to():
    z = rows()
    before = z.clone()
    for rest in ("spread", "drop"):
        out = truncate_logits(z, 3, rest=rest)
        best = z.topk(3).indices
        assert torch.equal(out.gather(1, best), z.gather(1, best))
        assert torch.equal(out.argmax(1), z.argmax(1))
        assert torch.equal(truncate_logits(z, 7, rest=rest), z)
    assert torch.equal(z, before)


def test_of_equal_logits_the_lower_classes_are_kept():
    tied = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    kept = truncate_logits(tied, 2, rest="drop").softmax(1)
    assert kept.tolist() == [[0, 0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rest", ["spread", "drop"])
def test_truncated_extremes_stay_finite_and_dropped_classes_have_probability_0(rest, dtype):
    for z in (torch.tensor([[1e4, -1e4, 0.0, -1e4]]), torch.zeros(1, 4), torch.full((1, 4), -1e4)):
        for k in (1, 2, 3):
            out = truncate_logits(z.to(dtype), k, rest=rest)
            assert out.dtype == torch.float32
            assert out.isfinite().all()
            for temperature in (0.05, 1, 50, 90):
                p = (out / temperature).softmax(1)
                assert p.isfinite().all()
                assert rest == "spread" or int((p > 0).sum()) <= k
            student = torch.zeros(1, 4, requires_grad=True)
            kd_loss(student, out).backward()
            assert student.grad.isfinite().all()


def test_truncation_compiles_as_one_graph():
    compiled = torch.compile(truncate_logits, fullgraph=True, backend="aot_eager")
    for rest in ("spread", "drop"):
        torch.testing.assert_close(compiled(rows(), 3, rest=rest), truncate_logits(rows(), 3, rest=rest))


PRIOR = torch.tensor([[0.0, 0.75, 0.25], [0.5, 0.0, 0.5], [0.1, 0.2, 0.7]], dtype=torch.float64)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_semantic_smoothing_equals_numpy(alpha):
    labels = torch.tensor([2, 0, 1, 1])
    expected = (1 - alpha) * np.eye(3)[labels] + alpha * PRIOR.numpy()[labels]
    p = semantic_smoothing(labels, PRIOR, alpha=alpha)
    np.testing.assert_allclose(p.numpy(), expected, rtol=1e-12)
    logits = SemanticTarget(PRIOR, alpha=alpha)(torch.zeros(4, 3), labels)
    assert logits.isfinite().all()
    for temperature in (0.05, 1, 90):
        softened = np.where(expected > 0, expected, 1e-300) ** (1 / temperature) * (expected > 0)
        softened /= softened.sum(axis=1, keepdims=True)
        np.testing.assert_allclose((logits / temperature).softmax(1).numpy(), softened, rtol=1e-4, atol=1e-7)


def test_a_uniform_prior_is_plain_label_smoothing():
    student, labels = rows(9, 5).float(), torch.arange(9) % 5
    p = semantic_smoothing(labels, torch.full((5, 5), 0.2), alpha=0.3)
    torch.testing.assert_close(F.cross_entropy(student, p), F.cross_entropy(student, labels, label_smoothing=0.3))


def test_semantic_smoothing_compiles_as_one_graph():
    compiled = torch.compile(semantic_smoothing, fullgraph=True, backend="aot_eager")
    labels = torch.tensor([0, 2])
    torch.testing.assert_close(compiled(labels, PRIOR, alpha=0.2), semantic_smoothing(labels, PRIOR, alpha=0.2))
    target = SemanticTarget(PRIOR)
    compiled = torch.compile(target.__call__, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(torch.zeros(2, 3), labels), target(torch.zeros(2, 3), labels))


def prior(row, values):
    matrix = PRIOR.clone()
    matrix[row] = torch.tensor(values)
    return matrix


ZERO = torch.tensor([0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: truncate_logits(rows(), 0), "k: got 0, expected a whole number of at least 1"),
        (lambda: truncate_logits(rows(), 1.5), "k: got 1.5, expected a whole number"),
        (lambda: truncate_logits(rows(), True), "k: got True, expected a whole number"),
        (lambda: truncate_logits(rows(), 2, rest="keep"), "rest: got 'keep', expected 'spread' or 'drop'"),
        (lambda: truncate_logits(rows()[0], 2), "teacher_logits: got (7,) torch.float64, expected float logits"),
        (lambda: semantic_smoothing(ZERO, prior(1, [0.5, 0.0, 0.4])), "prior: row 1 sums to 0.9, expected a distri"),
        (lambda: semantic_smoothing(ZERO, prior(2, [1.5, -0.5, 0.0])), "prior: row 2 holds -0.5, expected a distri"),
        (lambda: semantic_smoothing(ZERO, prior(0, [float("nan")] * 3)), "prior: row 0 holds nan, expected a distri"),
        (lambda: SemanticTarget(prior(0, [0.0, 0.0, 0.0])), "prior: row 0 sums to 0, expected a distribution"),
        (lambda: semantic_smoothing(ZERO, PRIOR[:2]), "prior: got (2, 3) torch.float64, expected floats of shape"),
        (lambda: semantic_smoothing(ZERO, torch.eye(3).long()), "prior: got (3, 3) torch.int64, expected floats"),
        (lambda: semantic_smoothing(ZERO, PRIOR, alpha=1.1), "alpha: got 1.1, expected a number from 0 to 1"),
        (lambda: semantic_smoothing(PRIOR[0], PRIOR), "labels: got (3,) torch.float64, expected whole numbers"),
        (lambda: SemanticTarget(PRIOR)(torch.zeros(1, 4), ZERO), "prior: has 3 classes, expected the 4 of the data"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(UserError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def write(path):
    if path.suffix == ".npy":
        np.save(path, PRIOR.numpy())
    elif path.suffix == ".csv":
        np.savetxt(path, PRIOR.numpy(), delimiter=",")
    else:
        save_file({"prior": PRIOR}, path)
    return path


@pytest.mark.parametrize("name", ["prior.npy", "prior.csv", "prior.safetensors"])
def test_the_semantic_component_needs_no_teacher(tmp_path, name):
    method = limbeck.methods.create(
        "semantic+kd", prior=str(write(tmp_path / name)), semantic={"alpha": 0.2}, kd={"alpha": 1.0, "temperature": 1.0}
    )
    assert method.teacher == "virtual"
    torch.manual_seed(0)
    student = torch.nn.Linear(4, 3)
    inputs, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    out = limbeck.Distiller(student, method=method)(inputs, labels)
    p = semantic_smoothing(labels, PRIOR, alpha=0.2).float()
    entropy = -torch.special.xlogy(p, p).sum(1).mean()
    torch.testing.assert_close(out.loss, F.cross_entropy(student(inputs), p) - entropy)


def test_the_top_k_component_truncates_the_teacher():
    torch.manual_seed(0)
    student, teacher = torch.nn.Linear(4, 5), torch.nn.Linear(4, 5)
    inputs, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    out = limbeck.Distiller(student, teacher, limbeck.methods.create("top_k+kd", k=2, rest="drop"))(inputs, labels)
    target_logits = truncate_logits(teacher(inputs), 2, rest="drop")
    torch.testing.assert_close(out.parts["kd"], 0.9 * kd_loss(student(inputs), target_logits))
    assert limbeck.methods.create("top_k+dist").teacher == "any"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (None, None, "semantic.prior: missing, expected a .npy, .csv or .safetensors file"),
        ("gone.npy", None, "gone.npy', there is no such file"),
        ("prior.txt", b"", "prior.txt', expected a .npy, .csv or .safetensors file"),
        ("prior.npy", b"nothing", "prior.npy' cannot be read ("),
        ("prior.npy", b"", "prior.npy' cannot be read ("),
        ("prior.csv", b"a,b\n1,2\n", "prior.csv' cannot be read ("),
        ("prior.csv", b"1,0\n1\n", "prior.csv' cannot be read ("),
        ("prior.csv", b"1,0\n0.5,0.6\n", "prior: row 1 sums to 1.1, expected a distribution"),
        ("prior.safetensors", b"nothing", "prior.safetensors' cannot be read ("),
    ],
)
def test_a_prior_that_cannot_be_used(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    settings = {} if name is None else {"prior": str(tmp_path / name)}
    with pytest.raises(UserError) as error:
        limbeck.methods.create("semantic+kd", **settings).check()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_prior_file_with_several_tensors_or_with_code(tmp_path):
    save_file({"one": PRIOR, "two": PRIOR.clone()}, tmp_path / "two.safetensors")
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name, reason in (("two.safetensors", "it holds 2 tensors"), ("pickled.npy", "allow_pickle=False")):
        with pytest.raises(UserError) as error:
            limbeck.methods.create("semantic+kd", prior=str(tmp_path / name)).check()
        assert reason in str(error.value)
