from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.selection import head_influence

ROWS, HELD, WIDTH, CLASSES = 24, 9, 6, 4


class Case:
    """A float64 head with rows to score and held-out rows."""

    def __init__(self, bias: bool = True) -> None:
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.features, self.held_features = draw(ROWS, WIDTH), draw(HELD, WIDTH)
        self.weight = draw(CLASSES, WIDTH + 1)
        if not bias:
            self.weight[:, -1] = 0
        self.bias = bias
        self.targets = draw(ROWS, CLASSES).softmax(1)
        self.held_labels = torch.arange(HELD) % CLASSES

    def logits(self, features: Tensor, weight: Tensor | None = None) -> Tensor:
        return self.inputs(features) @ (self.weight if weight is None else weight).T

    def inputs(self, features: Tensor) -> Tensor:
        return torch.cat([features, torch.full((len(features), 1), float(self.bias), dtype=features.dtype)], dim=1)

    def row_gradient(self, row: int) -> Tensor:
        weight = self.weight.clone().requires_grad_()
        loss = F.cross_entropy(self.logits(self.features[row : row + 1], weight), self.targets[row : row + 1])
        return torch.autograd.grad(loss, weight)[0]

    def held_loss(self, weight: Tensor, rows: list[int] | None = None) -> Tensor:
        rows = list(range(HELD)) if rows is None else rows
        return F.cross_entropy(self.logits(self.held_features[rows], weight), self.held_labels[rows])

    def held_gradient(self, rows: list[int] | None = None) -> Tensor:
        weight = self.weight.clone().requires_grad_()
        return torch.autograd.grad(self.held_loss(weight, rows), weight)[0]

    def score(self, **options: object) -> Tensor:
        return head_influence(
            self.features,
            self.logits(self.features),
            self.targets,
            self.held_features,
            self.logits(self.held_features),
            self.held_labels,
            bias=self.bias,
            **options,
        )


@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_product_of_autograd_gradients(bias):
    case = Case(bias)
    expected = torch.stack([(case.row_gradient(i) * case.held_gradient()).sum() for i in range(ROWS)])
    torch.testing.assert_close(case.score(), expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("bias", [True, False])
def test_is_the_decrease_of_the_held_out_loss_after_a_small_step(bias):
    case, step = Case(bias), 1e-6
    expected = []
    for row in range(ROWS):
        move = step * case.row_gradient(row)
        expected.append((case.held_loss(case.weight + move) - case.held_loss(case.weight - move)) / (2 * step))
    torch.testing.assert_close(case.score(), torch.stack(expected), atol=1e-8, rtol=1e-6)


def _inverse_fisher(case: Case, damping: float) -> Tensor:
    """The dense (C (D+1))^2 inverse of the Kronecker product that the closed form never builds."""
    inputs, p = case.inputs(case.features), case.logits(case.features).softmax(1)
    a = sum(torch.outer(h, h) for h in inputs) / ROWS + damping**0.5 * torch.eye(WIDTH + 1).double()
    s = sum(torch.diag(q) - torch.outer(q, q) for q in p) / ROWS + damping**0.5 * torch.eye(CLASSES).double()
    return torch.linalg.inv(torch.kron(s, a))


@pytest.mark.parametrize("damping", [1e-3, 0.5])
def test_damping_preconditions_with_the_kronecker_fisher(damping):
    case = Case()
    direction = _inverse_fisher(case, damping) @ case.held_gradient().flatten()
    expected = torch.stack([case.row_gradient(i).flatten() @ direction for i in range(ROWS)])
    torch.testing.assert_close(case.score(damping=damping), expected, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("damping", [None, 0.1])
def test_the_score_of_a_held_out_row_leaves_out_its_own_gradient(damping):
    case = Case()
    held_index = torch.full((ROWS,), -1)
    held_index[[3, 7, 11]] = torch.tensor([0, 8, 4])
    scores, plain = case.score(damping=damping, held_index=held_index), case.score(damping=damping)
    torch.testing.assert_close(scores[held_index < 0], plain[held_index < 0])
    inverse = torch.eye(CLASSES * (WIDTH + 1)).double() if damping is None else _inverse_fisher(case, damping)
    for row in (3, 7, 11):
        others = [v for v in range(HELD) if v != held_index[row]]
        expected = case.row_gradient(row).flatten() @ inverse @ case.held_gradient(others).flatten()
        torch.testing.assert_close(scores[row], expected, atol=1e-10, rtol=1e-8)


class SoftCrossEntropy(nn.Module):
    reduction = "sum"

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -(targets * logits.log_softmax(1)).sum()


class Net(nn.Module):
    """Two layers; the constant feature stands for the bias, which the reference leaves out of its gradients."""

    def __init__(self, constant: bool) -> None:
        super().__init__()
        self.constant = constant
        self.body = nn.Sequential(nn.Linear(8, 16), nn.Tanh())
        self.head = nn.Linear(16 + constant, 5, bias=False)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x)
        return self.head(torch.cat([h, torch.ones(len(h), 1)], 1) if self.constant else h)


def _trained(net: Net, x: Tensor, y: Tensor) -> Net:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()


def _clusters(number: int) -> Iterator[Tensor]:
    centres = torch.randn(5, 8)
    y = torch.arange(number) % 5
    yield centres[y] + torch.randn(number, 8)
    yield y


@pytest.mark.parametrize("bias", [True, False])
def test_ranks_as_captum_on_a_trained_network(bias):
    influence = pytest.importorskip("captum.influence")
    torch.manual_seed(0)
    x, y = _clusters(250)
    net = _trained(Net(constant=bias), x, y)
    rows, held = slice(0, 200), slice(200, 250)
    targets = (F.one_hot(y[rows], 5) * 3 + torch.randn(200, 5)).softmax(1)
    reference = influence.TracInCPFast(
        net,
        net.head,
        torch.utils.data.TensorDataset(x[rows], targets),
        checkpoints=[net.state_dict()],
        checkpoints_load_func=lambda model, state: 1.0,
        loss_fn=SoftCrossEntropy(),
        batch_size=100,
    )
    expected = reference.influence((x[held], F.one_hot(y[held], 5).float())).mean(0)
    with torch.no_grad():
        h, z = net.features(x), net(x)
    scores = head_influence(h[rows], z[rows], targets, h[held], z[held], y[held], bias=bias)
    assert spearmanr(scores.numpy(), expected.detach().numpy()).statistic > 0.9999
    torch.testing.assert_close(scores, expected.detach(), atol=1e-5, rtol=1e-4)


def test_a_true_target_scores_above_a_wrong_one():
    case = Case()
    truth = F.one_hot(case.held_labels, CLASSES).double()
    logits = case.logits(case.held_features)
    held = (case.held_features, logits, case.held_labels)
    right = head_influence(case.held_features, logits, truth, *held)
    wrong = head_influence(case.held_features, logits, truth.roll(1, dims=1), *held)
    assert float(right.mean()) > float(wrong.mean())
    assert float(right.mean()) > 0


def test_half_precision_is_scored_in_fp32():
    case = Case()
    tensors = [t.half() for t in (case.features, case.logits(case.features), case.targets)]
    held = [t.half() for t in (case.held_features, case.logits(case.held_features))]
    scores = head_influence(*tensors, *held, case.held_labels)
    assert scores.dtype == torch.float32
    widened = head_influence(*(t.float() for t in tensors), *(t.float() for t in held), case.held_labels)
    torch.testing.assert_close(scores, widened)


def test_scores_carry_no_gradient():
    case = Case()
    case.features.requires_grad_()
    assert not case.score().requires_grad


def _valid() -> dict[str, Tensor]:
    return {
        "features": torch.zeros(3, 4),
        "logits": torch.zeros(3, 2),
        "targets": torch.full((3, 2), 0.5),
        "held_features": torch.zeros(2, 4),
        "held_logits": torch.zeros(2, 2),
        "held_labels": torch.zeros(2, dtype=torch.int64),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.zeros(3)}, r"features: got \(3,\) .*, expected float logits of shape \(N, C\)"),
        ({"features": torch.zeros(2, 4)}, "features: got 2 rows for 3 of logits"),
        ({"logits": torch.zeros(3, 2, dtype=torch.int64)}, r"logits: got \(3, 2\) torch.int64, expected float logits"),
        ({"targets": torch.zeros(3, 3)}, r"targets: got \(3, 3\), expected \(3, 2\) as of logits"),
        ({"targets": torch.zeros(3, dtype=torch.int64)}, r"targets: got \(3,\)"),
        ({"held_features": torch.zeros(2, 5)}, r"held_features: got \(2, 5\), expected \(2, 4\)"),
        ({"held_features": torch.zeros(0, 4)}, r"held_features: got \(0, 4\), expected \(1, 4\)"),
        ({"held_logits": torch.zeros(2, 3)}, r"held_logits: got \(2, 3\), expected \(2, 2\)"),
        ({"held_logits": torch.zeros(1, 2)}, r"held_logits: got \(1, 2\), expected \(2, 2\)"),
        ({"held_labels": torch.tensor([0, 2])}, "held_labels: got values from 0 to 2, expected 0 to 1"),
        ({"held_labels": torch.zeros(2)}, r"held_labels: got \(2,\) torch.float32, expected 2 whole numbers"),
        ({"held_index": torch.tensor([0, 1])}, r"held_index: got \(2,\) torch.int64, expected 3 whole numbers"),
        ({"held_index": torch.tensor([0, 2, -1])}, "held_index: got values from -1 to 2, expected -1 to 1"),
        ({"held_index": torch.tensor([0, -2, -1])}, "held_index: got values from -2 to 0, expected -1 to 1"),
        ({"damping": 0.0}, "damping: got 0.0, expected a number above 0"),
        ({"damping": 1e-30}, "damping: 1e-30 is too small to invert"),
    ],
)
def test_wrong_input_is_refused_in_one_line(change, message):
    with pytest.raises(UserError, match=message) as caught:
        head_influence(**{**_valid(), **change})
    assert "\n" not in str(caught.value)


def test_the_only_held_out_row_cannot_be_left_out():
    lone = {name: value[:1] if name.startswith("held") else value for name, value in _valid().items()}
    with pytest.raises(UserError, match="held_index: leaves out the only held-out row, expected at least 2"):
        head_influence(**lone, held_index=torch.tensor([-1, 0, -1]))
    assert head_influence(**lone, held_index=torch.tensor([-1, -1, -1])).isfinite().all()
