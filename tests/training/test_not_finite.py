"""A loss that is no number names whose fault it is."""

import pytest
from test_graphs import network, views_of
from torch import nn

from limbeck import Distiller
from limbeck.errors import RunError
from limbeck.training import Engine, TrainingSettings, make_fabric


class Bad(nn.Module):
    """A teacher with nan logits for some of the images of one batch."""

    def __init__(self, at):
        super().__init__()
        self.body, self.at = network(6), at

    def forward(self, inputs):
        logits = self.body(inputs)
        logits[: 1 + (inputs[:, 0, 0, 0] > self.at).sum()] = float("nan")
        return logits


def engine(student, teacher=None, lr=0.05, **more):
    settings = TrainingSettings(
        epochs=2, batch_size=16, device="cpu", precision="fp32", optimizer={"name": "sgd", "lr": lr}, **more
    )
    fabric = make_fabric(settings)
    distiller = Distiller(student, teacher, "none" if teacher is None else "kd")
    return Engine(distiller, views_of(fabric), settings, fabric=fabric, splits={})


def test_a_teacher_with_nan_logits_is_named_and_no_learning_rate_blamed():
    with pytest.raises(RunError) as error:
        engine(network(4), Bad(2.0)).fit()
    assert "epoch 1, step 1 of 10: the teacher's logits are nan or inf in " in str(error.value)
    assert "of the batch's 16 samples (index " in str(error.value)
    assert "learning rate" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("teacher", [None, 6])
def test_the_error_of_a_student_that_diverges_names_a_remedy(teacher):
    line = (
        r"epoch 1, step 2 of 10: the loss parts? ce(, kd)? (is|are) nan in .*; try a lower learning rate or clip_norm"
    )
    with pytest.raises(RunError, match=line):
        engine(network(4), teacher and network(teacher), lr=1e30).fit()
