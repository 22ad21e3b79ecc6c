import math

import pytest
import torch

import limbeck
from limbeck.errors import UserError
from limbeck.selection import (
    ROW_SCORERS,
    SCORERS,
    Selection,
    agreement_scores,
    choose,
    choose_stratified,
    confidence_scores,
    el2n_scores,
    random_scores,
    shuffled,
)


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 40, 5, generator=generator)
    return student, teacher, torch.randint(5, (40,), generator=generator)


def test_defaults():
    assert (
        Selection().model_dump()
        == Selection("influence").model_dump()
        == {
            "scorer": "influence",
            "ratio": 0.8,
            "per_class": True,
            "refresh_every": None,
            "holdout": 0.1,
            "damping": None,
            "proxy_epochs": 2,
            "divide_by": "all",
            "shuffled": False,
        }
    )


def test_settings_by_position_compare_and_hash_by_value():
    selection = Selection("agreement", 0.5, False, 2)
    same = Selection("agreement", ratio=0.5, per_class=False, refresh_every=2)
    assert selection == same
    assert hash(selection) == hash(same)
    assert selection != Selection("agreement", 0.5)
    with pytest.raises(TypeError, match="multiple values"):
        Selection("agreement", scorer="random")


def test_a_method_with_a_selection_is_checked_once_and_under_its_own_key():
    with pytest.raises(UserError, match="^lr_ds.ratio: got 2, input should be less than or equal to 1$"):
        limbeck.methods.create("lr_ds", ratio=2)
    with pytest.raises(UserError, match="^select.scorer: unknown scorer 'x'"):
        limbeck.methods.create("select+kd", scorer="x")
    made = limbeck.methods.create("lr_ds", scorer="el2n", scout_epochs=3).selection
    assert (made.scorer, made.proxy_epochs, made.needs_student) == ("el2n", 3, True)


def test_row_scorers_are_all_but_influence():
    assert set(SCORERS) - set(ROW_SCORERS) == {"influence"}


@pytest.mark.parametrize("scorer", ["agreement", "confidence", "el2n", "random"])
def test_batch_mask_is_the_scorer_then_the_choice(rows, scorer):
    student, teacher, labels = rows
    indices = torch.arange(100, 140)
    scores = {
        "agreement": lambda: agreement_scores(teacher, labels),
        "confidence": lambda: confidence_scores(teacher),
        "el2n": lambda: el2n_scores(student, labels),
        "random": lambda: random_scores(indices, seed=7),
    }[scorer]()
    together, apart = Selection(scorer, 0.3, per_class=False), Selection(scorer, 0.3)
    assert torch.equal(together.batch_mask(*rows, indices=indices, seed=7), choose(scores, 0.3))
    assert torch.equal(apart.batch_mask(*rows, indices=indices, seed=7), choose_stratified(scores, 0.3, labels))


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("scorer", ROW_SCORERS)
def test_batch_mask_keeps_exactly_the_share(rows, scorer, per_class):
    assert Selection(scorer, 0.8, per_class).batch_mask(*rows).sum() == 32


def test_random_without_indices_follows_seed_and_epoch_alone(rows):
    selection = Selection("random", 0.5)
    masks = [selection.batch_mask(*rows, seed=seed, epoch=epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    torch.manual_seed(5)
    assert torch.equal(selection.batch_mask(*rows, seed=1), masks[0])
    assert len({tuple(mask.tolist()) for mask in masks}) == 3


def test_a_samples_draw_is_the_same_in_every_epoch(rows):
    selection, indices = Selection("random", 0.5), torch.arange(40) + 7
    masks = [selection.batch_mask(*rows, indices=indices, seed=1, epoch=epoch) for epoch in (0, 3)]
    assert torch.equal(*masks)


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("scorer", ROW_SCORERS)
def test_shuffled_selects_as_many_rows_of_each_class(rows, scorer, per_class):
    indices = torch.arange(40)
    plain, control = (
        Selection(scorer, 0.5, per_class, shuffled=on).batch_mask(*rows, indices=indices, seed=3)
        for on in (False, True)
    )
    assert plain.sum() == control.sum()
    assert not torch.equal(plain, control)
    if per_class:
        assert torch.equal(rows[2][plain].bincount(minlength=5), rows[2][control].bincount(minlength=5))
    assert Selection(scorer, shuffled=True).label == f"{scorer}, shuffled"


def test_shuffled_weights_are_the_same_weights_within_a_class_and_follow_the_seed():
    generator = torch.Generator().manual_seed(0)
    weight, labels = torch.rand(200, generator=generator), torch.randint(4, (200,), generator=generator)
    indices = torch.randperm(200, generator=generator)
    one, again, other = (shuffled(weight, indices, seed=seed, labels=labels) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    for number in range(4):
        assert torch.equal(one[labels == number].sort().values, weight[labels == number].sort().values)
    together = shuffled(weight, indices, seed=0)
    assert torch.equal(together.sort().values, weight.sort().values)
    assert abs(torch.corrcoef(torch.stack([together, weight]))[0, 1]) < 0.2


def test_influence_cannot_choose_within_a_batch(rows):
    with pytest.raises(UserError, match="scorer 'influence' cannot choose within a batch"):
        Selection("influence").batch_mask(*rows)


def test_batch_mask_refuses_rows_that_do_not_fit(rows):
    student, teacher, labels = rows
    with pytest.raises(UserError, match=r"teacher_logits: got \(40,\)"):
        Selection("el2n").batch_mask(student, teacher[:, 0], labels)
    with pytest.raises(UserError, match=r"teacher_logits: got \(40, 4\), expected the student's shape \(40, 5\)"):
        Selection("confidence").batch_mask(student, teacher[:, :4], labels.clamp(max=3))
    with pytest.raises(UserError, match="labels: got values from 1 to 5, expected 0 to 4"):
        Selection("confidence").batch_mask(student, teacher, labels + 1)
    with pytest.raises(UserError, match=r"indices: got \(3,\) torch.int64, expected 40 whole numbers"):
        Selection("random").batch_mask(*rows, indices=torch.arange(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scorer": "agrement"}, "^scorer: unknown scorer 'agrement'; did you mean 'agreement'"),
        ({"ratoi": 0.5}, "^ratoi: unknown key 'ratoi'; did you mean 'ratio'"),
        ({"per_class": "perhaps"}, "^per_class: got 'perhaps', input should be a valid boolean"),
        ({"ratio": 0.0}, "^ratio: got 0.0, input should be greater than 0$"),
        ({"ratio": 1.5}, "^ratio: got 1.5"),
        ({"ratio": math.nan}, "^ratio: got nan"),
        ({"refresh_every": 0}, "^refresh_every: got 0, input should be greater than or equal to 1"),
        ({"holdout": 0.0}, "^holdout: got 0.0, input should be greater than 0"),
        ({"holdout": 1.0}, "^holdout: got 1.0"),
        ({"divide_by": "kept"}, "^divide_by: got 'kept', input should be 'all' or 'selected'"),
        ({"damping": 0.0}, "^damping: got 0.0, input should be greater than 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Selection(**{"scorer": "random", **settings})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("scorer", ROW_SCORERS)
def test_batch_mask_never_waits_for_the_device(rows, scorer, per_class):
    on_device = [t.cuda() for t in rows]
    selection, indices = Selection(scorer, 0.3, per_class), torch.arange(40)
    expected = selection.batch_mask(*rows, indices=indices)
    indices = indices.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        mask = selection.batch_mask(*on_device, indices=indices)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(mask.cpu(), expected)
