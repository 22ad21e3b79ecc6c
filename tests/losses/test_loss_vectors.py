"""The published test vectors, and what single losses promise beyond the common checks."""

import pytest
import torch
from test_all_losses import rows

from limbeck import losses

STUDENT = [[2.0, 1.0, 0.0, -1.0], [0.5, 0.0, 1.5, -0.5], [0.0, 3.0, 1.0, 2.0]]
TEACHER = [[3.0, 0.5, 0.2, -2.0], [1.0, -1.0, 0.0, 2.0], [0.0, 1.0, 4.0, 2.0]]
LABELS = [0, 2, 1]


def vectors(dtype=torch.float64):
    return torch.tensor(STUDENT, dtype=dtype), torch.tensor(TEACHER, dtype=dtype), torch.tensor(LABELS)


@pytest.mark.parametrize(("temperature", "inter", "intra"), [(1.0, 0.973367, 0.927793), (4.0, 0.867292, 0.715654)])
def test_dist_vectors(temperature, inter, intra):
    student, teacher, _ = vectors()
    parts = losses.dist_parts(student, teacher, temperature=temperature, min_spread=0)
    assert parts.inter.item() == pytest.approx(inter, abs=1e-6)
    assert parts.intra.item() == pytest.approx(intra, abs=1e-6)


def test_the_least_spread_binds_only_what_varies_less():
    student, teacher, _ = vectors()
    for temperature, inter in ((1.0, 0.973367), (4.0, 0.867292)):
        # Each row of both sides has a standard deviation above .7.
        parts = losses.dist_parts(student, teacher, temperature=temperature, min_spread=0.5)
        assert parts.inter.item() == pytest.approx(inter, abs=1e-6)
    # At T = 4 no column is bound by .5 either; at T = 1 one column is bound by 1, but no row.
    assert losses.dist_parts(student, teacher, temperature=4.0, min_spread=0.5).intra.item() == pytest.approx(
        0.715654, abs=1e-6
    )
    assert losses.dist_parts(student, teacher).inter.item() == pytest.approx(0.973367, abs=1e-6)
    assert losses.dist_parts(student, teacher).intra.item() == pytest.approx(0.913147, abs=1e-6)
    far = losses.dist_parts(4 * student, 4 * teacher, temperature=4.0)
    assert far.inter.item() == pytest.approx(0.973367, abs=1e-6)


def test_dist_scales():
    student, teacher, _ = vectors()
    code = losses.dist_loss(student, teacher, temperature=4.0, min_spread=0).item()
    assert code == pytest.approx(25.327133, abs=1e-5)
    paper = losses.dist_loss(student, teacher, temperature=4.0, min_spread=0, scale="paper")
    assert paper.item() == pytest.approx(code / 16)


def test_dist_ignores_a_positive_affine_map_of_the_probabilities():
    student, teacher, _ = rows()
    moved = (0.5 * teacher.softmax(1) + 0.1).log()
    before = losses.dist_parts(student, teacher, min_spread=0)
    # The map leaves probabilities that sum to 1 again: .5 * 1 + 5 classes * .1.
    after = losses.dist_parts(student, moved, min_spread=0)
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-7)


def test_dist_inter_has_no_gradient_with_two_classes_and_intra_none_with_one_row():
    two, teacher, _ = rows(6, 2)
    two.requires_grad_(True)
    losses.dist_parts(two, teacher, min_spread=0).inter.backward()
    assert two.grad.abs().max() < 1e-6
    one, teacher, _ = rows(1, 5)
    one.requires_grad_(True)
    losses.dist_parts(one, teacher).intra.backward()
    assert one.grad.abs().max() < 1e-15


def test_label_revision_vector():
    assert losses.label_revision_loss(*vectors()).item() == pytest.approx(2.756279, abs=1e-6)


def test_kd_mean_divides_by_the_classes():
    student, teacher, _ = vectors()
    summed = losses.kd_loss(student, teacher, temperature=6.0)
    assert losses.kd_loss(student, teacher, temperature=6.0, reduction="mean").item() == pytest.approx(
        summed.item() / 4
    )
