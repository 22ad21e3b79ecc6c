"""Losses, targets and methods from outside: registered, by python: names, and what their signatures make of them."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from limbeck import Distiller, methods
from limbeck.errors import UserError
from limbeck.methods.outside import FunctionLoss
from limbeck.methods.registry import REGISTRY

SOURCE = '''
import torch
from torch import nn
from limbeck import methods
from limbeck.losses import kd_loss

def gap(student_logits, teacher_logits, *, power: float = 2.0, temperature=1.0):
    """Match the logits.

    More about it.
    """
    return ((student_logits - teacher_logits) / temperature).abs().pow(power).mean()

def labeled(student_logits, teacher_logits, labels, weight=None, alpha=2.0):
    rows = alpha * (student_logits - teacher_logits).gather(1, labels[:, None])[:, 0].square()
    return rows.mean() if weight is None else (rows * weight).sum() / weight.sum()

def loss(student_logits, teacher_logits):
    return (student_logits - teacher_logits).abs().mean()

def sharper(teacher_logits, labels, factor=3.0):
    """Multiply the teacher's logits."""
    return factor * teacher_logits

class Margin(nn.Module):
    def __init__(self, margin=0.5):
        super().__init__()
        self.margin = margin

    def forward(self, student_logits, teacher_logits, labels, weight):
        return (student_logits - teacher_logits).abs().clamp(min=self.margin).mean()

def needs(student_logits, teacher_logits, power):
    return student_logits.sum()

def net(num_classes):
    return nn.Linear(2, num_classes)

ENTRY = methods.loss_entry("whatever", gap, alpha=0.25, settings={"power": 1.0}, summary="Gaps.", citation="Me, 2026")
NUMBER = 3
'''


@pytest.fixture(autouse=True)
def mylab(tmp_path, monkeypatch):
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "losses.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "mylab":
            del sys.modules[name]
    for name in REGISTRY.local_names():
        REGISTRY.unregister(name)


def batch():
    torch.manual_seed(0)
    student, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    return student, teacher, torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])


def computed(name, **settings):
    student, teacher, inputs, labels = batch()
    out = Distiller(student, teacher, methods.create(name, **settings))(inputs, labels)
    return out, student(inputs), teacher(inputs).detach(), labels


def cross_entropy(logits, labels):
    return -logits.log_softmax(1)[range(len(labels)), labels].mean()


def test_a_function_is_a_loss_beside_the_cross_entropy():
    out, z, t, labels = computed("python:mylab.losses:gap", power=3, alpha=0.4)
    torch.testing.assert_close(out.loss, 0.6 * cross_entropy(z, labels) + 0.4 * (z - t).abs().pow(3).mean())
    assert set(out.parts) == {"ce", "gap"}


def test_losses_and_targets_from_outside_compose():
    name = "revise+python:mylab.losses:sharper+python:mylab.losses:gap"
    settings = {"python:mylab.losses:sharper": {"factor": 2}, "eta": 0.5}
    out, z, t, labels = computed(name, **settings)
    p = t.softmax(1)
    wrong = p.argmax(1) != labels
    share = 0.5 / (p.max(1).values - p[range(6), labels] + 1)
    revised = (share[:, None] * p + (1 - share[:, None]) * torch.eye(3)[labels]).log()
    # Right rows keep their logits.
    expected = 2 * torch.where(wrong[:, None], revised, t)
    assert wrong.any()
    assert not wrong.all()
    torch.testing.assert_close(out.parts["gap"], 0.9 * (z - expected).square().mean())


def test_a_modifier_gives_the_loss_a_temperature_of_1():
    method = methods.create("ctkd+python:mylab.losses:gap")
    assert method.settings["python:mylab.losses:gap"]["temperature"] == 1.0


def test_labels_and_weights_are_passed_as_far_as_they_are_taken():
    out, z, t, labels = computed("python:mylab.losses:labeled")
    rows = 2 * (z - t)[range(6), labels].square()
    torch.testing.assert_close(out.loss, cross_entropy(z, labels) + rows.mean())
    assert methods.create("python:mylab.losses:labeled").settings["python:mylab.losses:labeled"] == {
        "ce_weight": 1.0,
        "alpha": 2.0,
    }
    method = methods.create("select+python:mylab.losses:labeled", scorer="confidence", ratio=0.5, per_class=False)
    student, teacher, inputs, labels = batch()
    kept = teacher(inputs).softmax(1).max(1).values.topk(3).indices
    out = Distiller(student, teacher, method)(inputs, labels)
    torch.testing.assert_close(out.parts["labeled"], rows[kept].sum() / 6)


def test_a_selection_of_rows_needs_a_loss_that_weighs_them():
    with pytest.raises(UserError, match="loss 'gap': has no parameter 'weight', expected one beside a selection"):
        computed("select+python:mylab.losses:gap", scorer="confidence")


def test_a_function_gets_fp32_and_a_teacher_without_gradient():
    seen = []

    def look(student_logits, teacher_logits):
        seen.extend((student_logits, teacher_logits))
        return student_logits.sum()

    z = torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    FunctionLoss(look)(z, z.clone())
    assert [(rows.dtype, rows.requires_grad) for rows in seen] == [(torch.float32, True), (torch.float32, False)]


def test_a_module_class_is_a_loss():
    out, z, t, _ = computed("python:mylab.losses:Margin", margin=2)
    torch.testing.assert_close(out.parts["Margin"], 0.9 * (z - t).abs().clamp(min=2).mean())


def test_an_entry_keeps_its_settings_and_card():
    name = "python:mylab.losses:ENTRY"
    entry = methods.entry(name)
    assert (entry.name, entry.card.summary, entry.card.citation) == (name, "Gaps.", "Me, 2026")
    assert methods.create(name).settings == {name: {"alpha": 0.25, "power": 1.0}}


def test_a_card_comes_from_the_docstring():
    card = methods.entry("python:mylab.losses:gap").card
    assert card.summary == "Match the logits."
    assert card.citation == "no paper given, mylab.losses:gap"
    assert card.equation == "L = (1 - a) CE + a gap(z^s, z^t)"


def test_a_term_of_a_reserved_name_is_numbered():
    out, z, t, _ = computed("python:mylab.losses:loss")
    torch.testing.assert_close(out.parts["loss_2"], 0.9 * (z - t).abs().mean())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gone", {}, "unknown function of module 'mylab.losses': 'gone'"),
        ("NUMBER", {}, "got a int, expected an Entry, a loss (a function of student_logits first, or a class"),
        ("net", {}, "got a function of 'num_classes', expected an Entry, a loss"),
        ("needs", {}, "loss 'needs': the parameter 'power' has no default, expected one"),
        ("kd_loss", {}, "'kd_loss' is defined in limbeck.losses.kd, expected python:limbeck.losses.kd:kd_loss"),
        ("sharper", {}, "has no loss against the teacher"),
        ("gap", {"powr": 2}, "unknown setting 'powr'; did you mean 'power'?"),
        ("gap", {"power": "x"}, "python:mylab.losses:gap.power: got 'x', input should be a valid number"),
        ("gap", {"temperature": 0}, "python:mylab.losses:gap.temperature: got 0, input should be greater than 0"),
        ("gap", {"alpha": 2}, "python:mylab.losses:gap.alpha: got 2, input should be less than or equal to 1"),
    ],
)
def test_mistakes_are_one_clear_line(name, settings, message):
    with pytest.raises(UserError) as error:
        methods.create(f"python:mylab.losses:{name}", **settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_registered_loss_is_a_method_like_any_other():
    def gap(student_logits, teacher_logits, *, power=2, scale=1.0):
        return scale * (student_logits - teacher_logits).abs().pow(power).mean()

    methods.register_loss("gap", gap, alpha=0.7, settings={"power": 4}, summary="Gaps.", equation="L = gap")
    assert "gap" in methods.names()
    assert methods.entry("gap").card.equation == "L = gap"
    out, z, t, _ = computed("gap")
    torch.testing.assert_close(out.parts["gap"], 0.7 * (z - t).pow(4).mean())
    with pytest.raises(UserError, match="method gap: unknown setting 'scale'"):
        methods.create("gap", scale=2)
    with pytest.raises(UserError, match="method 'gap': the name is taken"):
        methods.register_loss("gap", gap)
    with pytest.raises(UserError, match="unknown setting of loss 'other': 'powr'; did you mean 'power'"):
        methods.register_loss("other", gap, settings={"powr": 1})


def test_a_packaged_method_is_replaced_on_purpose_only():
    changed = replace(methods.entry("kd"), card=replace(methods.entry("kd").card, summary="Mine."))
    with pytest.raises(UserError, match="the name is taken"):
        methods.register(changed)
    methods.register(changed, replace=True)
    assert methods.entry("kd").card.summary == "Mine."


def test_composing_builds_no_module_and_reads_no_file(tmp_path, monkeypatch):
    prior = tmp_path / "prior.csv"
    prior.write_text("1,0\n0,1\n")
    names = [*methods.names(), "rectify+kd", "select+kd", "adversarial+kd", "top_k+kd"]

    def refuse(*arguments, **keywords):
        raise AssertionError("built or read")

    monkeypatch.setattr(nn.Module, "__init__", refuse)
    monkeypatch.setattr("limbeck.targets.prior._read", refuse)
    for name in names:
        methods.create(name)
    method = methods.create("semantic+kd", prior=str(prior))
    with pytest.raises(UserError, match="built or read"):
        method.check()


def test_a_priors_file_is_read_once(tmp_path, monkeypatch):
    prior = tmp_path / "prior.csv"
    prior.write_text("1,0,0\n0,1,0\n0,0,1\n")
    method = methods.create("semantic+kd", prior=str(prior))
    student, _, inputs, labels = batch()
    distiller = Distiller(student, method=method)
    prior.unlink()
    assert distiller(inputs, labels).loss.isfinite()
    with pytest.raises(UserError, match="prior: has 3 classes, expected the 4 of the data"):
        method.check(4)
