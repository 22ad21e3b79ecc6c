"""What the tests of gradients in closed form share: inputs, and how close is close."""

import torch

EXTREMES = {
    "usual": lambda x: x,
    "huge": lambda x: torch.where(torch.arange(x.numel()).view_as(x) % 3 == 0, 1e4, -1e4) + x,
    "one constant row": lambda x: torch.cat([torch.zeros_like(x[:1]), x[1:]]),
    "one rare class": lambda x: torch.cat([x[:, :1] - 40, x[:, 1:]], dim=1),
    "one frequent class": lambda x: torch.cat([x[:, :1] + 30, x[:, 1:]], dim=1),
    "nearly uniform": lambda x: x * 1e-4,
}


def logits(rows, classes, seed=0, dtype=torch.float64):
    """Draw a student's logits, and a teacher's that are related to them."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.to(dtype), (0.5 * student + teacher).to(dtype)


def changed(student, teacher, extreme, whose):
    """Take the logits of the student, the teacher or both to an extreme."""
    change = EXTREMES[extreme]
    return change(student) if whose != "teacher" else student, change(teacher) if whose != "student" else teacher


def assert_equal(ours, theirs, tolerance, least=1e-3):
    """Compare tensors, up to a share of the largest entry or of ``least``."""
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * max(least, other.abs().max().item()))
