"""``data.view_seed``: all seeds see the same views in orders of their own, and the teacher runs once for all."""

import pytest
import torch
from test_cached_runs import cached, same

import limbeck
from limbeck.data import Augment, Views
from limbeck.data.schedule import Schedule
from limbeck.runs import load_recipe
from limbeck.runs.cache_commands import build_cache
from limbeck.runs.prefill import shared_caches
from limbeck.teachers import LiveTeacher

ROTATED = {"crop": 1, "rotation": 10}


def by_sample(views, epoch):
    batches = list(views.epoch(epoch))
    indices = torch.cat([batch.indices for batch in batches])
    return indices, torch.cat([batch.inputs for batch in batches])[indices.argsort()]


def test_views_are_those_of_the_view_seed_and_the_order_is_that_of_the_seed(tiny):
    split = limbeck.data.load("mnist", root=tiny["data"]["root"]).train
    options = {"batch_size": 16, "mean": [0.5], "std": [0.5], "augment": Augment(**ROTATED), "shuffle": True}
    first, second, other = (
        by_sample(Views(split, seed=seed, view_seed=view_seed, **options), 3)
        for seed, view_seed in ((0, 7), (1, 7), (0, 8))
    )
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


def test_without_one_the_seed_is_that_of_both():
    assert Schedule(5, 2, seed=3).plan(0).seed == 3
    assert Schedule(5, 2, seed=3, view_seed=0).plan(0).seed == 0


def test_a_run_with_its_own_seed_as_view_seed_is_the_run_without(precise, tmp_path):
    data = {**precise["data"], "augment": ROTATED}
    limbeck.run({**precise, "data": data, "seed": 3}, out=tmp_path / "one")
    limbeck.run({**precise, "data": {**data, "view_seed": 3}, "seed": 3}, out=tmp_path / "two")
    assert same(tmp_path / "one", tmp_path / "two")


def test_one_cache_serves_every_seed(precise, tmp_path, monkeypatch):
    counts, real = [], LiveTeacher.logits

    def logits(self, inputs, *args, **kwargs):
        counts.append(len(inputs))
        return real(self, inputs, *args, **kwargs)

    data = {**precise["data"], "augment": ROTATED, "view_seed": 5}
    for seed in (0, 1):
        limbeck.run({**precise, "method": "kd", "data": data, "seed": seed}, out=tmp_path / f"live{seed}")
    recipe = cached(precise, "epochs", data=data)
    build_cache(recipe, seeds=3)
    assert len(list((tmp_path / "cache" / "logits").glob("*/"))) == 1
    monkeypatch.setattr(LiveTeacher, "logits", logits)
    for seed in (0, 1):
        limbeck.run({**recipe, "seed": seed}, out=tmp_path / f"cached{seed}")
        assert same(tmp_path / f"live{seed}", tmp_path / f"cached{seed}")
    # A few stored rows are compared with the live teacher's at the start of each run.
    assert sum(counts) < 60


@pytest.mark.parametrize(("view_seed", "caches"), [(None, [2, 2]), (5, [4])])
def test_a_comparison_shares_it(tiny, view_seed, caches):
    data = {**tiny["data"], "augment": ROTATED, "view_seed": view_seed}
    runs = [
        load_recipe(cached(tiny, "epochs", method=method, data=data, seed=seed))
        for seed in (0, 1)
        for method in ("kd", "dist")
    ]
    assert [cache.readers for cache in shared_caches(runs)] == caches
