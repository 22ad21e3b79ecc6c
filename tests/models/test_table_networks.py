"""Networks for rows and series: shapes, options, half precision."""

import pytest
import torch
from torch import nn

from limbeck import models
from limbeck.errors import UserError


@pytest.mark.parametrize("hidden", [[], 8, [8], (16, 8, 4)])
@pytest.mark.parametrize("normalization", ["batch", "layer", "none"])
def test_an_mlp_of_any_widths(hidden, normalization):
    facts = {"in_features": 6}
    net = models.create("mlp", num_classes=3, facts=facts, hidden=hidden, normalization=normalization, dropout=0.1)
    widths = [layer.out_features for layer in net.modules() if isinstance(layer, nn.Linear)]
    assert widths == [*([hidden] if isinstance(hidden, int) else hidden), 3]
    assert net(torch.randn(5, 6)).shape == net(torch.randn(5, 2, 3)).shape == (5, 3)
    assert models.head(net, 3)[1].out_features == 3 if isinstance(models.head(net, 3), tuple) else models.head(net, 3)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64])
def test_a_convolutional_network_of_series_of_any_length(length):
    net = models.create("cnn1d", num_classes=4, facts={"in_features": 2 * length, "in_channels": 2, "length": length})
    assert net(torch.randn(3, 2, length)).shape == (3, 4)


def test_half_precision_and_gradients():
    for net, shape in (
        (models.create("mlp", num_classes=3, facts={"in_features": 6}), (8, 6)),
        (models.create("cnn1d", num_classes=3, facts={"in_channels": 2, "length": 9}), (8, 2, 9)),
    ):
        with torch.autocast("cpu", torch.bfloat16):
            output = net(torch.randn(shape))
        output.float().logsumexp(1).sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mlp", {"hidden": [0]}, r"hidden: got \[0\], expected whole numbers of at least 1"),
        ("mlp", {"hidden": "64"}, "hidden: got '64'"),
        ("mlp", {"dropout": 1.0}, "dropout: got 1.0, expected a share of at least 0 and below 1"),
        ("mlp", {"normalization": "bach"}, "unknown normalization 'bach'; did you mean 'batch'"),
        ("mlp", {"hiden": 4}, "unknown mlp option 'hiden'; did you mean 'hidden'"),
        ("cnn1d", {"kernel": 4}, "kernel: got 4, expected an odd whole number"),
        ("cnn1d", {"channels": [8, -1]}, "channels: got"),
        ("resnet8", {}, "is for images, expected one for these inputs"),
    ],
)
def test_settings_out_of_range(name, options, message):
    facts = {"in_features": 6} if name != "cnn1d" else {"in_channels": 2, "length": 9}
    with pytest.raises(UserError, match=message):
        models.create(name, num_classes=3, facts=facts, **options)
