"""A student whose logits are all alike at first, because its head is zero, learns under every method."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

import limbeck
from limbeck import Distiller, methods


def compares_logits(name):
    method = methods.create(name)
    return bool(method.terms) and not any(term.features for term in method.terms)


NAMES = [name for name in methods.names() if compares_logits(name)]
EPOCHS, BATCH = 8, 64


def batches(inputs, labels, epoch):
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch))
    for chosen in order.split(BATCH):
        yield inputs[chosen], labels[chosen], chosen


def distiller_of(name, student, teacher, data):
    distiller = Distiller(student, copy.deepcopy(teacher), name, num_classes=10, epochs=EPOCHS)
    inputs, labels = data
    places = torch.arange(len(labels))
    if distiller.method.selection is not None:
        distiller.select([(inputs, labels, places)], proxy=teacher)
    if distiller.teacher_scale.needs_measuring:
        # Stands in for students of half of the samples each.
        distiller.measure_teacher([(inputs, labels, places)], proxies=(teacher, teacher), half=places % 2 == 0)
    return distiller


def trained(distiller, data, optimizer):
    for epoch in range(EPOCHS):
        for inputs, labels, indices in batches(*data, epoch):
            optimizer.zero_grad()
            distiller(inputs, labels, indices, epoch).loss.backward()
            optimizer.step()


@pytest.fixture(scope="module")
def images():
    """Training and test images of the embedded sample, and a teacher of them."""
    found = limbeck.data.load("fashion_mnist_sample", train_limit=2000)
    small = [F.avg_pool2d((split.images.float() - 73) / 90, 2).flatten(1) for split in (found.train, found.test)]
    splits = list(zip(small, (found.train.labels.long(), found.test.labels.long()), strict=True))
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(196, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    trained(Distiller(teacher, method="none"), splits[0], optimizer)
    return *splits, teacher


def accuracy_of(name, images, *, zero):
    data, (inputs, labels), teacher = images
    torch.manual_seed(1)
    student = nn.Sequential(nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))
    if zero:
        for parameter in student[2].parameters():
            nn.init.zeros_(parameter)
    distiller = distiller_of(name, student, teacher, data)
    # What is trained beside the student has nothing to do with its head.
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.015, momentum=0.9)
    trained(distiller, data, optimizer)
    with torch.no_grad():
        return (student(inputs).argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize("name", NAMES)
def test_a_zero_head_ends_where_a_default_one_does(name, images):
    default, zero = (accuracy_of(name, images, zero=zero) for zero in (False, True))
    assert default > 0.6
    assert zero > default - 0.03


def test_the_published_formula_of_dist_does_not_learn_from_a_zero_head(images):
    method = methods.create("dist", min_spread=0)
    assert accuracy_of(method, images, zero=True) < 0.3


@pytest.fixture(scope="module")
def patterns():
    """Images of ten patterns under noise, and a teacher that is nearly certain of each."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(10, 3, 32, 32, generator=generator)
    labels = torch.arange(40) % 10
    inputs = patterns[labels] + 0.3 * torch.randn(40, 3, 32, 32, generator=generator)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    with torch.no_grad():
        teacher[1].weight.copy_(patterns.flatten(1) / 100)
        nn.init.zeros_(teacher[1].bias)
    return (inputs, labels), teacher


@pytest.mark.parametrize("name", NAMES)
def test_a_vision_transformer_as_torchvision_makes_it_learns(name, patterns):
    data, teacher = patterns
    inputs, labels = data
    torch.manual_seed(0)
    student = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10)
    assert not student.heads.head.weight.any()
    before = copy.deepcopy(student.state_dict())
    distiller = distiller_of(name, student, teacher, data)
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.01, momentum=0.9)
    for step in range(15):
        optimizer.zero_grad()
        out = distiller(inputs, labels, torch.arange(40), step % EPOCHS)
        out.loss.backward()
        assert out.loss.isfinite()
        if step == 0:
            first = F.cross_entropy(out.logits, labels).item()
            size = torch.stack([p.grad.norm() for p in student.parameters() if p.grad is not None]).norm()
            assert 0 < size < 50 * of_cross_entropy(before, data)
        optimizer.step()
    assert not any(torch.equal(value, before[key]) for key, value in student.state_dict().items() if value.ndim > 1)
    assert F.cross_entropy(student(inputs), labels).item() < first - 0.3


def of_cross_entropy(state, data):
    student = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10)
    student.load_state_dict(state)
    F.cross_entropy(student(data[0]), data[1]).backward()
    return torch.stack([parameter.grad.norm() for parameter in student.parameters()]).norm()
