"""Errors of feature losses about shapes, settings and features that do not fit."""

import pytest
import torch

from limbeck.errors import UserError
from limbeck.losses.features import (
    ATLoss,
    CRDLoss,
    FitNetLoss,
    ReviewKDLoss,
    SPLoss,
    VIDLoss,
    at_loss,
    hierarchical_context_loss,
    mimic_loss,
    sp_loss,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SPLoss([], []), "student_shapes: got [], expected at least one (C,), (T, C) or (C, H, W)"),
        (lambda: SPLoss([(1, 2, 3, 4)], [(1,)]), "student_shapes: got [(1, 2, 3, 4)], expected at least one"),
        (lambda: SPLoss([(3,)], [(0,)]), "teacher_shapes: got [(0,)], expected"),
        (lambda: SPLoss([(3,)], [(3,), (4,)]), "teacher_shapes: got 2 features, expected 1, one for each"),
        (
            lambda: FitNetLoss([(3, 4, 4)], [(3,)]),
            "teacher_shapes: got a vector (3,), expected a map as of",
        ),
        (lambda: VIDLoss([(3,)], [(5, 3)]), "teacher_shapes: got tokens (5, 3), expected a vector as of the student"),
        (lambda: VIDLoss([(3,)], [(3,)], variance=0), "variance: got 0, expected a number above"),
        (lambda: ATLoss([(3,)], [(3,)]), "shapes: got a vector (3,), expected maps or tokens"),
        (lambda: ReviewKDLoss([(5, 3)], [(3, 4, 4)]), "shapes: got tokens (5, 3), expected maps (C, H, W)"),
        (lambda: CRDLoss([(3,)], [(3,)]), "num_samples: got None, expected the number of training images"),
        (lambda: CRDLoss([(3,)], [(3,)], num_samples=9, temperature=0), "temperature: got 0, expected"),
        (lambda: CRDLoss([(3,)], [(3,)], num_samples=9, momentum=1), "momentum: got 1, expected"),
        (lambda: CRDLoss([(3,)], [(3,)], num_samples=9, negatives=0), "dim and negatives: got 128 and 0, expected"),
        (lambda: at_loss(torch.ones(2, 3), torch.ones(2, 3)), "student feature: got (2, 3), expected maps"),
        (lambda: at_loss(*[torch.ones(2, 3, 4, 4)] * 2, power=0.5), "power: got 0.5, expected a number of at least 1"),
        (lambda: sp_loss(torch.ones(2, 3), torch.ones(3, 3)), "teacher feature: got (3, 3), expected 2 rows"),
        (lambda: sp_loss(torch.ones(2).long(), torch.ones(2, 3)), "student feature: got (2,) torch.int64, expected"),
        (lambda: sp_loss(*[torch.ones(2, 3)] * 2, weight=torch.ones(3)), "weight: got (3,), expected one a row, (2,)"),
        (lambda: mimic_loss(torch.ones(2, 3), torch.ones(2, 4)), "teacher feature: got (2, 4), expected the student's"),
        (
            lambda: hierarchical_context_loss(torch.ones(2, 3), torch.ones(2, 3)),
            "teacher feature: got (2, 3), expected the student's (2, 3), a map",
        ),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ([torch.ones(2, 3, 4, 4)], [], "teacher_features: got 0, expected 1"),
        (
            [torch.ones(2, 4, 4, 4)],
            [torch.ones(2, 5, 4, 4)],
            "student_features[0]: got (2, 4, 4, 4), expected",
        ),
        (
            [torch.ones(2, 3)],
            [torch.ones(2, 5, 4, 4)],
            "student_features[0]: got (2, 3), expected (N, ...) of",
        ),
        ([torch.ones(2, 3, 4, 4)], [torch.ones(3, 5, 4, 4)], "teacher feature: got (3, 5, 4, 4), expected 2 rows"),
    ],
)
@pytest.mark.parametrize("loss", [FitNetLoss, CRDLoss])
def test_features_that_were_not_announced(loss, student, teacher, message):
    module = loss([(3, 4, 4)], [(5, 4, 4)], num_samples=10)
    with pytest.raises(UserError) as error:
        module(student, teacher)
    assert message in str(error.value)


def test_other_numbers_of_tokens_cannot_be_compared():
    with pytest.raises(UserError, match="expected the student's kind and number of tokens"):
        at_loss(torch.ones(2, 5, 3), torch.ones(2, 6, 3))
