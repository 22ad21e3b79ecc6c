import os
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from limbeck.data import load

SAMPLES = files("limbeck.data.images") / "samples"


def test_what_is_in_it():
    data = load("fashion_mnist_sample")
    assert data.train.labels.bincount().tolist() == [1000] * 10
    assert data.test.labels.bincount().tolist() == [500] * 10
    assert data.train.images.shape == (10000, 1, 28, 28)
    assert (data.validation, data.mean, data.std) == (None, (0.2860,), (0.3530,))
    assert data.classes[:2] == ("T-shirt/top", "Trouser")


def test_its_pixels_have_the_statistics_of_the_whole():
    values = load("fashion_mnist_sample").train.images.float() / 255
    assert values.mean().item() == pytest.approx(0.2860, abs=0.003)
    assert values.std().item() == pytest.approx(0.3530, abs=0.003)


def test_size_and_license():
    assert len((SAMPLES / "fashion_mnist_sample.xz").read_bytes()) < 6_000_000
    license = (SAMPLES / "fashion_mnist_sample.LICENSE").read_text("utf-8")
    assert "The MIT License (MIT) Copyright © 2017 Zalando SE, https://tech.zalando.com" in license
    assert "Permission is hereby granted, free of charge" in license


@pytest.mark.shared
@pytest.mark.skipif("LIMBECK_SHARED" not in os.environ, reason="LIMBECK_SHARED does not name the data folder")
def test_its_images_are_those_of_the_official_files_bit_for_bit():
    whole = load("fashion_mnist", root=Path(os.environ["LIMBECK_SHARED"]) / "data" / "fashion-mnist")
    sample = load("fashion_mnist_sample")
    for ours, theirs, each in ((sample.train, whole.train, 1000), (sample.test, whole.test, 500)):
        rows = torch.cat([(theirs.labels == k).nonzero().squeeze(1)[:each] for k in range(10)])
        assert torch.equal(ours.images, theirs.images[rows])
        assert torch.equal(ours.labels, theirs.labels[rows])
