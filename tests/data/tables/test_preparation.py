"""Standardizing and encoding against scikit-learn, exactly rebuilt from JSON; noise; batches."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from limbeck import data as datasets
from limbeck.data.tables import Preparation, TableAugment, TableSet, prepare
from limbeck.data.tables.columns import table_of
from limbeck.data.tables.noise import gaussian_noise
from limbeck.errors import UserError


@pytest.fixture
def frame():
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": random.normal(1e6, 3, 200),
            "color": random.choice(["red", "green", "blue"], 200),
            "b": random.exponential(1e-4, 200),
            "constant": np.full(200, 7.0),
            "shape": random.choice(["1", "2", "10"], 200),
        }
    )


def test_values_are_those_of_scikit_learn(frame):
    preparation = Preparation.fitted(table_of(frame.iloc[:150]), ["color", "shape"])
    numeric, texts = ["a", "b", "constant"], ["color", "shape"]
    expected = ColumnTransformer(
        [("n", StandardScaler(), numeric), ("c", OneHotEncoder(sparse_output=False), texts)], sparse_threshold=0
    ).fit(frame.iloc[:150])
    made = preparation.inputs(table_of(frame))
    assert np.array_equal(made, expected.transform(frame).astype(np.float32))


def test_it_is_rebuilt_exactly_from_json(frame):
    preparation = Preparation.fitted(table_of(frame), ["color", "shape"])
    again = Preparation.from_json(json.loads(json.dumps(preparation.as_json())))
    assert again == preparation
    assert np.array_equal(again.inputs(table_of(frame)), preparation.inputs(table_of(frame)))


def test_raw_rows_are_prepared_as_the_training_rows_were(frame, tmp_path):
    labeled = frame.assign(label=["x", "y"] * 100)
    labeled.to_csv(tmp_path / "rows.csv", index=False)
    data = datasets.load(
        "table", root=tmp_path / "rows.csv", options={"test_rows": 50, "categorical": ["color", "shape"]}
    )
    stored = json.loads(json.dumps(data.preparation))
    assert torch.equal(prepare(labeled.iloc[150:], stored), data.test.inputs)
    assert torch.equal(prepare(tmp_path / "rows.csv", stored)[:150], data.train.inputs)
    with pytest.raises(UserError, match="has no column 'b'"):
        prepare(frame.drop(columns="b"), stored)
    with pytest.raises(UserError, match="preparation: got 'mean', expected that of a table"):
        prepare(frame, {"mean": [1]})


def test_noise_is_standard_normal_and_the_same_in_any_batch():
    noise = gaussian_noise(torch.arange(4000), 16, seed=3, epoch=5)
    columns = [stats.kstest(column.double(), "norm").pvalue for column in noise.T]
    # Were the noise normal, the smallest of 16 would be below this once in 500 seeds.
    assert min(columns) > 1e-4
    assert stats.kstest(noise.flatten().double(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(noise.T.numpy()) - np.eye(16)).max() < 0.08
    assert torch.equal(gaussian_noise(torch.tensor([9, 2]), 16, seed=3, epoch=5), noise[[9, 2]])
    for other in ({"seed": 4, "epoch": 5}, {"seed": 3, "epoch": 6}):
        assert not torch.isclose(gaussian_noise(torch.arange(100), 16, **other), noise[:100]).any(1).all()


def test_views_do_not_depend_on_the_batch():
    data = datasets.load("iris")

    def epoch(size, number):
        batches = data.batches(data.train, batch_size=size, augment=TableAugment(noise=0.5), shuffle=True, seed=2)
        parts = list(batches.epoch(number))
        order = torch.cat([batch.indices for batch in parts]).argsort()
        return torch.cat([batch.inputs for batch in parts])[order]

    assert torch.equal(epoch(7, 3), epoch(120, 3))
    assert not torch.equal(epoch(7, 3), epoch(7, 4))
    assert (epoch(7, 3) - data.train.inputs).std().item() == pytest.approx(0.5, abs=0.05)


def test_splits_are_checked():
    with pytest.raises(UserError, match=r"inputs: got torch.float64 of shape \(2, 3\), expected torch.float32"):
        TableSet(torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UserError, match=r"labels: got torch.float32 of shape \(2,\), expected torch.int64 \(2,\)"):
        TableSet(torch.zeros(2, 3), torch.zeros(2))
    split = TableSet(torch.rand(4, 2, 5), torch.arange(4))
    assert split.fingerprint() != split.select(torch.tensor([0, 1, 3, 2])).fingerprint()
