"""Every loss, by one set of checks: value against NumPy in float64, gradients, half precision, extremes, compile."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from limbeck import losses
from limbeck.errors import UserError

STUDENT = [[2.0, 1.0, 0.0, -1.0], [0.5, 0.0, 1.5, -0.5], [0.0, 3.0, 1.0, 2.0]]
TEACHER = [[3.0, 0.5, 0.2, -2.0], [1.0, -1.0, 0.0, 2.0], [0.0, 1.0, 4.0, 2.0]]
LABELS = [0, 2, 1]


def kd_reference(student, teacher, labels, weight, temperature=4.0):
    log_s, log_t = log_softmax(student / temperature, axis=1), log_softmax(teacher / temperature, axis=1)
    rows = (np.exp(log_t) * (log_t - log_s)).sum(1)
    return temperature**2 * (rows * weight).sum() / max(weight.sum(), 1e-300)


def weighted_pearson(a, b, weight):
    if weight.sum() == 0:
        return 1.0
    a, b = a - np.average(a, weights=weight), b - np.average(b, weights=weight)
    norm = np.sqrt((weight * a * a).sum()) * np.sqrt((weight * b * b).sum())
    return (weight * a * b).sum() / (norm + 1e-8)


def dist_reference(student, teacher, labels, weight, temperature=4.0, beta=2.0, gamma=1.0):
    if weight.sum() == 0:
        return 0.0
    s, t = softmax(student / temperature, axis=1), softmax(teacher / temperature, axis=1)
    ones = np.ones(s.shape[1])
    inter = np.average([1 - weighted_pearson(s[i], t[i], ones) for i in range(len(s))], weights=weight)
    intra = np.mean([1 - weighted_pearson(s[:, j], t[:, j], weight) for j in range(s.shape[1])])
    return temperature**2 * (beta * inter + gamma * intra)


def revised_reference(teacher, labels, eta):
    p = softmax(teacher, axis=1)
    for row, label in zip(p, labels, strict=True):
        if row.argmax() != label:
            b = eta / (row.max() - row[label] + 1)
            row *= b
            row[label] += 1 - b
    return p


def label_revision_reference(student, teacher, labels, weight, eta=0.8):
    right = (teacher.argmax(1) == labels) * weight
    wrong = weight - right
    cross_entropy = -log_softmax(student, axis=1)[np.arange(len(labels)), labels]
    logits = ((student - teacher) ** 2).mean(1)
    revised = ((softmax(student, axis=1) - revised_reference(teacher, labels, eta)) ** 2).mean(1)
    mean = lambda values, w: (values * w).sum() / w.sum() if w.sum() else 0.0  # noqa: E731
    return mean(cross_entropy + 4 * logits, right) + mean(revised, wrong)


LOSSES = {
    "kd": (losses.kd_loss, losses.KDLoss, kd_reference, {}),
    "dist": (losses.dist_loss, losses.DISTLoss, dist_reference, {"temperature": 4.0, "beta": 2.0}),
    "label_revision": (losses.label_revision_loss, losses.LabelRevisionLoss, label_revision_reference, {}),
}
NEEDS_LABELS = {"label_revision"}
TEMPERED = {"kd", "dist"}


@pytest.fixture(params=LOSSES)
def case(request):
    return request.param


def call(name, student, teacher, labels, weight=None, **more):
    function, _, _, settings = LOSSES[name]
    arguments = (student, teacher, labels) if name in NEEDS_LABELS else (student, teacher)
    return function(*arguments, **{**settings, **more}, weight=weight)


def rows(n=7, c=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(n, c, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.to(dtype), teacher.to(dtype), torch.randint(c, (n,), generator=generator)


@pytest.mark.parametrize("weights", ["all", "mask", "real", "none"])
@pytest.mark.parametrize("shape", [(7, 5), (1, 5), (2, 2), (33, 100)])
def test_value_equals_the_equation_in_float64(case, shape, weights):
    student, teacher, labels = rows(*shape)
    weight = {
        "all": None,
        "mask": torch.arange(shape[0]) % 2 == 0,
        "real": torch.arange(shape[0]) + 0.5,
        "none": torch.zeros(shape[0]),
    }[weights]
    plain = np.ones(shape[0]) if weight is None else weight.double().numpy()
    expected = LOSSES[case][2](student.numpy(), teacher.numpy(), labels.numpy(), plain)
    assert call(case, student, teacher, labels, weight).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_module_twin_gives_the_same(case):
    student, teacher, labels = rows()
    weight = torch.arange(7) % 3 > 0
    module = LOSSES[case][1](**LOSSES[case][3])
    torch.testing.assert_close(
        module(student, teacher, labels, weight), call(case, student, teacher, labels, weight), rtol=0, atol=0
    )


def test_gradient(case):
    student, teacher, labels = rows()
    student.requires_grad_(True)
    weight = torch.arange(7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: call(case, s, teacher, labels, weight), student)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_full(case, dtype):
    student, teacher, labels = rows(dtype=dtype)
    student.requires_grad_(True)
    loss = call(case, student, teacher, labels)
    assert loss.dtype == torch.float32
    loss.backward()
    assert student.grad.dtype == dtype
    expected = call(case, student.detach().double(), teacher.double(), labels)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-6)


EXTREMES = {
    "huge": lambda x: torch.where(torch.arange(x.numel()).view_as(x) % 3 == 0, 1e4, -1e4),
    "constant rows": torch.zeros_like,
    "one constant row": lambda x: torch.cat([torch.zeros_like(x[:1]), x[1:]]),
    "small": lambda x: x * 1e-6,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 50.0])
@pytest.mark.parametrize("whose", ["student", "teacher", "both"])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_loss_and_gradient_are_finite_at_extremes(case, extreme, whose, temperature, dtype):
    student, teacher, labels = rows(dtype=torch.float32)
    student = EXTREMES[extreme](student) if whose != "teacher" else student
    teacher = EXTREMES[extreme](teacher) if whose != "student" else teacher
    student = student.to(dtype).requires_grad_(True)
    more = {"temperature": temperature} if case in TEMPERED else {}
    loss = call(case, student, teacher.to(dtype), labels, **more)
    loss.backward()
    assert loss.isfinite()
    # A gradient beyond fp16's range is the format's limit; NaN never is.
    assert not student.grad.isnan().any()
    assert dtype == torch.float16 or student.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 5), (4, 2), (1, 2), (4, 1)])
def test_edge_shapes_are_finite(case, shape):
    student, teacher, labels = rows(*shape, dtype=torch.float32)
    student.requires_grad_(True)
    loss = call(case, student, teacher, labels)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_no_row_counts(case):
    student, teacher, labels = rows()
    student.requires_grad_(True)
    loss = call(case, student, teacher, labels, torch.zeros(7))
    loss.backward()
    assert loss.item() == 0
    assert (student.grad == 0).all()


def test_rows_without_weight_are_left_out(case):
    student, teacher, labels = rows()
    kept = torch.tensor([True, True, False, True, False, True, True])
    torch.testing.assert_close(
        call(case, student, teacher, labels, kept), call(case, student[kept], teacher[kept], labels[kept])
    )


def test_teacher_is_neither_written_to_nor_differentiated(case):
    student, teacher, labels = rows()
    teacher.requires_grad_(True)
    before = teacher.detach().clone()
    call(case, student.requires_grad_(True), teacher, labels).backward()
    assert torch.equal(teacher, before)
    assert teacher.grad is None


def test_compiles_as_one_graph(case):
    student, teacher, labels = rows(dtype=torch.float32)
    compiled = torch.compile(partial(call, case), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(student, teacher, labels), call(case, student, teacher, labels))


@pytest.mark.parametrize("name", sorted(TEMPERED))
def test_a_student_that_equals_its_teacher_has_no_loss(name):
    student, _, labels = rows()
    assert call(name, student, student.clone(), labels).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (torch.zeros(3, 4, 2), torch.zeros(3, 4), "student_logits: got (3, 4, 2) torch.float32, expected float logits"),
        (torch.zeros(3, 4), torch.zeros(4), "teacher_logits: got (4,) torch.float32, expected float logits"),
        (torch.zeros(3, 4), torch.zeros(3, 5), "teacher_logits: got (3, 5), expected the student's shape (3, 4)"),
        (torch.zeros(3, 4, dtype=torch.long), torch.zeros(3, 4), "student_logits: got (3, 4) torch.int64, expected"),
    ],
)
def test_wrong_logits_are_named(case, student, teacher, message):
    with pytest.raises(UserError) as error:
        call(case, student, teacher, torch.zeros(3, dtype=torch.long))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", sorted(TEMPERED))
def test_wrong_temperature_is_named(name, temperature):
    with pytest.raises(UserError, match="temperature: got .*, expected a number greater than 0"):
        call(name, *rows(), temperature=temperature)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 4]), "labels: got values from 0 to 4, expected 0 to 3"),
        (torch.tensor([0, -1, 2]), "labels: got values from -1 to 2, expected 0 to 3"),
        (torch.tensor([0, 1]), "labels: got (2,) torch.int64, expected 3 whole numbers"),
        (torch.tensor([0.0, 1.0, 2.0]), "labels: got (3,) torch.float32, expected 3 whole numbers"),
    ],
)
def test_wrong_labels_are_named(labels, message):
    with pytest.raises(UserError) as error:
        losses.label_revision_loss(torch.zeros(3, 4), torch.zeros(3, 4), labels)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("call_it", "message"),
    [
        (lambda s, t: losses.kd_loss(s, t, reduction="sum"), "reduction: got 'sum', expected 'batchmean' or 'mean'"),
        (lambda s, t: losses.dist_loss(s, t, scale="both"), "scale: got 'both', expected 'code' or 'paper'"),
        (lambda s, t: losses.kd_loss(s, t, weight=torch.ones(2)), "weight: got (2,), expected one a row, (3,)"),
    ],
)
def test_wrong_settings_are_named(call_it, message):
    with pytest.raises(UserError) as error:
        call_it(torch.zeros(3, 4), torch.zeros(3, 4))
    assert str(error.value) == message


def vectors(dtype=torch.float64):
    return torch.tensor(STUDENT, dtype=dtype), torch.tensor(TEACHER, dtype=dtype), torch.tensor(LABELS)


@pytest.mark.parametrize(("temperature", "inter", "intra"), [(1.0, 0.973367, 0.927793), (4.0, 0.867292, 0.715654)])
def test_dist_vectors(temperature, inter, intra):
    student, teacher, _ = vectors()
    parts = losses.dist_parts(student, teacher, temperature=temperature)
    assert parts.inter.item() == pytest.approx(inter, abs=1e-6)
    assert parts.intra.item() == pytest.approx(intra, abs=1e-6)


def test_dist_scales():
    student, teacher, _ = vectors()
    code = losses.dist_loss(student, teacher, temperature=4.0).item()
    assert code == pytest.approx(25.327133, abs=1e-5)
    assert losses.dist_loss(student, teacher, temperature=4.0, scale="paper").item() == pytest.approx(code / 16)


def test_dist_ignores_a_positive_affine_map_of_the_probabilities():
    student, teacher, _ = rows()
    moved = (0.5 * teacher.softmax(1) + 0.1).log()
    before = losses.dist_parts(student, teacher)
    # The map leaves probabilities that sum to 1 again: .5 * 1 + 5 classes * .1.
    after = losses.dist_parts(student, moved)
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-7)


def test_dist_inter_has_no_gradient_with_two_classes_and_intra_none_with_one_row():
    two, teacher, _ = rows(6, 2)
    two.requires_grad_(True)
    losses.dist_parts(two, teacher).inter.backward()
    assert two.grad.abs().max() < 1e-6
    one, teacher, _ = rows(1, 5)
    one.requires_grad_(True)
    losses.dist_parts(one, teacher).intra.backward()
    assert (one.grad == 0).all()


def test_label_revision_vector():
    assert losses.label_revision_loss(*vectors()).item() == pytest.approx(2.756279, abs=1e-6)


def test_kd_mean_divides_by_the_classes():
    student, teacher, _ = vectors()
    summed = losses.kd_loss(student, teacher, temperature=6.0)
    assert losses.kd_loss(student, teacher, temperature=6.0, reduction="mean").item() == pytest.approx(
        summed.item() / 4
    )
