"""Contrastive representation distillation: the teacher's embedding of the same sample against those of many others."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.losses.features._shapes import Shapes, applied, channels, pooled, unit
from limbeck.losses.features.base import FeatureLoss, RowInfo
from limbeck.losses.gather import broadcast_first, gather_rows
from limbeck.ranks import are_several
from limbeck.rows import row_mean

_EPS = 1e-7


def contrastive_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    num_samples: int,
    counted: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Noise-contrastive estimation with one positive and K negatives a row.

    .. math:: -\frac{1}{N} \sum_i \Big( \log \frac{P_i^+}{P_i^+ + K/M + \epsilon}
        + \sum_k \log \frac{K/M}{P_{ik}^- + K/M + \epsilon} \Big)

    Summed over the negatives and averaged over the rows, as in the authors' code (equation 18 of the paper);
    :math:`\epsilon` is 1e-7. Computed from logarithms, so that no temperature overflows.

    Args:
        positive: (N,) log of the positive's probability ratio, :math:`\log P^+`.
        negatives: (N, K) the same of the negatives; K may be 0.
        num_samples: M, images in the training set; noise draws each with 1 / M.
        counted: (N, K) which negatives count; the sum is scaled up to K of them. None for all.
        weight: (N,) how much each row counts.

    Returns:
        A scalar.

    References:
        Tian, Krishnan, Isola: Contrastive Representation Distillation, ICLR 2020, arXiv 1910.10699.

    Example:
        >>> print(f"{contrastive_loss(torch.zeros(2), torch.zeros(2, 4), num_samples=4):.4f}")
        3.4657
    """
    count = negatives.shape[1]
    noise = count / num_samples
    # Not new_tensor, which would wait for the device.
    rest = negatives.new_full((), math.log(noise + _EPS))
    rows = F.softplus(rest - positive)
    if count:
        missed = torch.logaddexp(negatives, rest) - math.log(noise)
        if counted is not None:
            share = counted.sum(1, keepdim=True).clamp_min(1) / count
            missed = missed * counted / share
        rows = rows + missed.sum(1)
    return row_mean(rows, weight)


class _Contrast(nn.Module):
    """One pair of layers: two embeddings, a bank of each for the whole training set, and the constants of NCE.

    Several processes have equal banks: they begin with the first one's, and each then stores the rows of all.
    """

    kept_equal = ("student_bank", "teacher_bank", "classes", "constants", "known")
    student_bank: Tensor
    teacher_bank: Tensor
    classes: Tensor
    constants: Tensor
    known: Tensor

    def __init__(self, student: int, teacher: int, num_samples: int, dim: int) -> None:
        super().__init__()
        self.student_embedding, self.teacher_embedding = nn.Linear(student, dim), nn.Linear(teacher, dim)
        bound = math.sqrt(3 / dim)
        for side in ("student", "teacher"):
            self.register_buffer(f"{side}_bank", torch.empty(num_samples, dim).uniform_(-bound, bound))
        self.register_buffer("classes", torch.full((num_samples,), -1))
        self.register_buffer("constants", torch.zeros(2))
        self.register_buffer("known", torch.tensor(False))
        self._shared = False

    def share(self) -> None:
        """Copy the first process's banks, once, if there are several."""
        if are_several() and not self._shared:
            broadcast_first([self.get_buffer(name) for name in self.kept_equal])
            self._shared = True

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return both sides' (N, dim) embeddings, of length 1."""
        return unit(applied(self.student_embedding, student)), unit(applied(self.teacher_embedding, teacher))

    def scores(self, student: Tensor, teacher: Tensor, chosen: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Return (N, 1 + K) log probability ratios of the chosen images, for either side's embeddings."""
        pairs = ((student, self.teacher_bank), (teacher, self.student_bank))
        # The banks are written to before the backward pass reads them.
        raw = [(vectors @ bank.clone().to(vectors.dtype).T).gather(1, chosen) / temperature for vectors, bank in pairs]
        constants = self._constants(raw).to(student.dtype)
        return raw[0] - constants[0], raw[1] - constants[1]

    @torch.no_grad()
    def _constants(self, raw: list[Tensor]) -> Tensor:
        """Return the logs of NCE's constants: those of the first batch of the training, ever after."""
        sums = torch.stack([scores.flatten().logsumexp(0) for scores in raw])
        counted = sums.new_full((1, 1), raw[0].numel() / len(self.classes))
        if self.training:
            sums, counted = gather_rows(sums[None]).logsumexp(0), gather_rows(counted)
        measured = sums - counted.sum().log()
        constants = torch.where(self.known, self.constants, measured.to(self.constants.dtype))
        if self.training:
            self.constants.copy_(constants)
            self.known.fill_(True)
        return constants

    @torch.no_grad()
    def remember(self, student: Tensor, teacher: Tensor, indices: Tensor, momentum: float) -> None:
        """Move the banks' entries of the images of all processes, at ``indices``, towards their embeddings."""
        both = gather_rows(torch.stack([student, teacher], dim=1)).unbind(1)
        for bank, vectors in zip((self.student_bank, self.teacher_bank), both, strict=True):
            moved = momentum * bank[indices] + (1 - momentum) * vectors.to(bank.dtype)
            bank.index_copy_(0, indices, unit(moved))


class CRDLoss(FeatureLoss):
    """Contrast either side's embedding with the other side's, of the same image and of many others.

    Features are averaged to one vector a row, mapped by a trained linear layer of each side to ``dim`` numbers of
    length 1, and compared with a bank of the other side's embeddings of the whole training set by
    :func:`contrastive_loss` of their cosine over the temperature. Both sides' losses, and all pairs of layers, are
    added up. The banks follow the embeddings with a momentum in training mode, and are part of ``state_dict``. In
    ``torch.distributed`` every process remembers the embeddings of all, so that all must take their steps together.

    Negatives are drawn uniformly, with replacement, from the other images, and those of the row's own class do not
    count as soon as their class has been seen, if ``labels`` are given (the released code draws from other classes
    to begin with). At most num_samples - 1 are drawn. Both are ours.

    Args:
        student_shapes: Shapes of the student's features, without the batch.
        teacher_shapes: Shapes of the teacher's.
        num_samples: Images in the training set; needed.
        dim: Length of an embedding.
        negatives: K, negatives a row.
        temperature: What cosines are divided by; greater than 0.
        momentum: How much of a bank's entry stays, in [0, 1).

    Raises:
        UserError: If ``num_samples`` or (in a call) ``indices`` is missing, or a number is out of range.

    References:
        Tian, Krishnan, Isola: Contrastive Representation Distillation, ICLR 2020, arXiv 1910.10699, section 3.

    Example:
        >>> loss = CRDLoss([(3, 8, 8)], [(5, 4, 4)], num_samples=100)
        >>> student, teacher = torch.rand(4, 3, 8, 8), torch.rand(4, 5, 4, 4)
        >>> bool(loss([student], [teacher], indices=torch.tensor([7, 1, 99, 0])) > 0)
        True
    """

    def __init__(
        self,
        student_shapes: Shapes,
        teacher_shapes: Shapes,
        *,
        num_samples: int | None = None,
        dim: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        super().__init__(student_shapes, teacher_shapes, num_samples=num_samples)
        samples = _checked(num_samples, dim, negatives, temperature, momentum)
        self.samples, self.negatives = samples, min(negatives, samples - 1)
        self.temperature, self.momentum = temperature, momentum
        widths = [(channels(student), channels(teacher)) for student, teacher in self.shape_pairs]
        self.contrasts = nn.ModuleList(_Contrast(*pair, samples, dim) for pair in widths)

    def compare(self, students: list[Tensor], teachers: list[Tensor], rows: RowInfo) -> Tensor:
        """Add both sides' losses of all pairs up, and remember the embeddings."""
        indices = self._positions(rows.indices, students[0])
        trios = zip(self.contrasts, students, teachers, strict=True)
        return torch.stack([self._pair(*trio, indices, rows) for trio in trios]).sum()

    def _pair(self, contrast: nn.Module, student: Tensor, teacher: Tensor, indices: Tensor, rows: RowInfo) -> Tensor:
        assert isinstance(contrast, _Contrast)
        student, teacher = contrast(pooled(student), pooled(teacher))
        seen = indices
        if self.training:
            contrast.share()
            seen = gather_rows(indices)
        if self.training and rows.labels is not None:
            contrast.classes.index_copy_(0, seen, gather_rows(rows.labels.to(contrast.classes.dtype)))
        drawn = self.draw(indices)
        counted = None if rows.labels is None else contrast.classes[drawn] != rows.labels[:, None]
        both = contrast.scores(student, teacher, torch.cat([indices[:, None], drawn], dim=1), self.temperature)
        sides = [
            contrastive_loss(logs[:, 0], logs[:, 1:], num_samples=self.samples, counted=counted, weight=rows.weight)
            for logs in both
        ]
        if self.training:
            contrast.remember(student, teacher, seen, self.momentum)
        return sides[0] + sides[1]

    def draw(self, indices: Tensor) -> Tensor:
        """Draw (N, K) positions of other images than those at (N,) ``indices``, from torch's generator."""
        if not self.negatives:
            return indices[:, None][:, :0]
        drawn = torch.randint(self.samples - 1, (len(indices), self.negatives), device=indices.device)
        return drawn + (drawn >= indices[:, None])

    def _positions(self, indices: Tensor | None, student: Tensor) -> Tensor:
        whole = isinstance(indices, Tensor) and not (indices.is_floating_point() or indices.dtype == torch.bool)
        if indices is None or not whole or indices.shape != student.shape[:1]:
            got = "None" if indices is None else f"{tuple(indices.shape)} {indices.dtype}"
            raise UserError(f"indices: got {got}, expected each row's position in the training set, for CRD's memory")
        if len(indices) and indices.device.type == "cpu" and not torch.compiler.is_compiling():
            low, high = int(indices.min()), int(indices.max())
            if low < 0 or high >= self.samples:
                raise UserError(f"indices: got {low} to {high}, expected 0 to {self.samples - 1} (num_samples)")
        return indices.long()


def _checked(num_samples: int | None, dim: int, negatives: int, temperature: float, momentum: float) -> int:
    if num_samples is None or num_samples < 1:
        raise UserError(f"num_samples: got {num_samples}, expected the number of training images, for CRD's memory")
    if dim < 1 or negatives < 1:
        raise UserError(f"dim and negatives: got {dim} and {negatives}, expected whole numbers of at least 1")
    if not 0 < temperature < float("inf"):
        raise UserError(f"temperature: got {temperature}, expected a number greater than 0")
    if not 0 <= momentum < 1:
        raise UserError(f"momentum: got {momentum}, expected a number of at least 0 and below 1")
    return num_samples
