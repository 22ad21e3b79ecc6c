"""LW-KD's adversarial loss: the student's output should be indistinguishable from the lightweight teacher's."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from limbeck.rows import check_labels, check_pair, check_temperature, full, row_mean


class Discriminator(nn.Module):
    """Classifies probabilities as the teacher's or the student's: a spectrally normalized perceptron of two layers.

    Its form is ours; the paper's outline only has a discriminator on outputs.

    Args:
        num_classes: Number of classes C.
        hidden: Width of the hidden layer.
        conditional: Whether it gets the true class of a row too.

    Example:
        >>> net = Discriminator(3)
        >>> net(torch.full((5, 3), 1 / 3), torch.zeros(5, dtype=torch.long)).shape
        torch.Size([5])
    """

    def __init__(self, num_classes: int, *, hidden: int = 64, conditional: bool = True) -> None:
        super().__init__()
        self.num_classes, self.hidden, self.conditional = num_classes, hidden, conditional
        inputs = 2 * num_classes if conditional else num_classes
        self.layers = nn.Sequential(
            spectral_norm(nn.Linear(inputs, hidden)), nn.LeakyReLU(0.2), spectral_norm(nn.Linear(hidden, 1))
        )

    def forward(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        """Return (N,) logits, positive where (N, C) ``probabilities`` look like the teacher's for (N,) ``labels``."""
        probabilities = probabilities.to(next(self.parameters()).dtype)
        if self.conditional:
            classes = F.one_hot(labels, probabilities.shape[1]).to(probabilities.dtype)
            probabilities = torch.cat([probabilities, classes], dim=1)
        scores: Tensor = self.layers(probabilities).squeeze(1)
        return scores

    def __reduce__(self) -> tuple[Callable[..., "Discriminator"], tuple[Any, ...]]:
        # A spectral norm is a class of its own for every layer, which cannot be pickled: it is made again.
        frozen = [name for name, parameter in self.named_parameters() if not parameter.requires_grad]
        shape = {"num_classes": self.num_classes, "hidden": self.hidden, "conditional": self.conditional}
        return _made_again, (type(self), shape, self.state_dict(), frozen, self.training)


def _made_again(
    kind: type[Discriminator], shape: dict[str, Any], state: dict[str, Tensor], frozen: list[str], training: bool
) -> Discriminator:
    with torch.random.fork_rng(devices=[]):
        discriminator = kind(**shape).train(training)
    discriminator.load_state_dict(state, assign=True)
    for name in frozen:
        discriminator.get_parameter(name).requires_grad_(False)
    return discriminator


class AdversarialLoss(nn.Module):
    r"""The student's part :math:`-\log D(p^s)`, and the discriminator's own loss.

    The discriminator D is a part of this module and is trained by gradient descent beside the student: add
    :meth:`auxiliary_loss` to what is differentiated (``Distiller`` does) and give its parameters to an optimizer. The
    student's part gives D no gradient, and D's part gives the student none, so one backward serves both.

    Args:
        num_classes: Number of classes C.
        temperature: Softens the probabilities that D gets; greater than 0.
        hidden: Width of D's hidden layer.
        conditional: Whether D gets the true class of a row.

    Raises:
        UserError: On wrong shapes or types, labels out of range, or a temperature not above 0.

    References:
        Liu et al.: Learning from a Lightweight Teacher for Efficient Knowledge Distillation, arXiv 2005.09163. The
        outline is the paper's; the form of D and of the loss are ours.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> loss = AdversarialLoss(3)
        >>> labels = torch.tensor([0, 1, 2])
        >>> student_part = loss(torch.eye(3), torch.eye(3), labels)
        >>> discriminator_part = loss.auxiliary_loss(torch.eye(3), torch.eye(3), labels)
        >>> bool(student_part > 0), bool(discriminator_part > 0)
        (True, True)
    """

    needs_labels = True

    def __init__(
        self, num_classes: int, *, temperature: float = 4.0, hidden: int = 64, conditional: bool = True
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature
        self.discriminator = Discriminator(num_classes, hidden=hidden, conditional=conditional)

    def _probabilities(self, logits: Tensor) -> Tensor:
        return F.softmax(full(logits) / self.temperature, dim=1)

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        r"""Return the mean of :math:`-\log D(p^s)` over the rows; no gradient reaches D."""
        check_pair(student_logits, teacher_logits)
        labels = check_labels(labels, student_logits)
        fixed = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        with torch.autocast(student_logits.device.type, enabled=False):
            scores = functional_call(self.discriminator, fixed, (self._probabilities(student_logits), labels))
        return row_mean(F.softplus(-scores), weight)

    def auxiliary_loss(
        self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """Return D's binary cross-entropy between the teacher's rows and the student's; no gradient reaches those."""
        labels = check_labels(labels, student_logits)
        with torch.autocast(student_logits.device.type, enabled=False):
            real = self.discriminator(self._probabilities(teacher_logits.detach()), labels)
            fake = self.discriminator(self._probabilities(student_logits.detach()), labels)
        return row_mean((F.softplus(-real) + F.softplus(fake)) / 2, weight)
