"""The lightweight teacher of LW-KD: a tiny network, trained in seconds on digits, whose logits vary within a class.

LW-KD (Learning from a Lightweight Teacher, arXiv 2005.09163) distils without a big teacher and without giving every
sample of a class the same target: a small network learns a simple synthesized set with as many classes as the target's,
and its outputs there are the soft targets. The paper's outline ends here; the set, the network, its training, the bank
of logits and the way a sample draws from it are this library's own.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.files import content_digest
from limbeck.randomness.hashing import derived_seed, random_integers
from limbeck.teachers.base import LabelTeacher
from limbeck.teachers.digits import check_num_classes, synthesize

GOOD_ACCURACY = 0.97
_BATCH_SIZE = 128
_LEARNING_RATE = 0.01
_EPOCHS = 5
_FORMAT = "limbeck.lightweight_bank.1"
# Far from the small numbers that image augmentations take, whose draws must not go along with the teacher's.
_STREAM = 200509163


class LightweightNet(nn.Module):
    """A LeNet-5 with batch norm and twice the second layer's channels: 0.12 M parameters at 10 classes, 0.20 M at 1000.

    Our choice for LW-KD (arXiv 2005.09163), after LeCun et al., "Gradient-based learning applied to document
    recognition" (1998), figure 2: 5x5 convolutions, pooling, and layers of 120 and 84 units.

    Args:
        num_classes: Number of classes ``C``, 2 to 1000.

    Raises:
        UserError: For a number of classes out of range.

    Example:
        >>> net = LightweightNet(10)
        >>> net(torch.zeros(4, 1, 32, 32, dtype=torch.uint8)).shape
        torch.Size([4, 10])
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.features = nn.Sequential(*_conv_block(1, 16), *_conv_block(16, 32), nn.Flatten())
        self.hidden = nn.Sequential(*_linear_block(32 * 5 * 5, 120), *_linear_block(120, 84))
        self.classifier = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images of numbers.

        Args:
            images: (B, 1, 32, 32) of values 0 to 255, as ``synthesize`` makes them.

        Returns:
            Logits (B, C), float32.
        """
        logits: Tensor = self.classifier(self.hidden(self.features(images.float() / 255)))
        return logits


def _conv_block(inputs: int, outputs: int) -> list[nn.Module]:
    # Pooling first makes the norm and the activation four times cheaper.
    return [nn.Conv2d(inputs, outputs, 5, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU()]


def _linear_block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]


@dataclass(frozen=True, eq=False)
class LightweightBank:
    """What a lightweight teacher (LW-KD, arXiv 2005.09163) returned for synthetic samples; the bank is ours.

    Attributes:
        logits: (C, N, C) of float16 or float32; ``logits[k, n]`` is the output for the ``n``-th random sample of class
            ``k``.
        accuracy: Share of held-out synthetic samples that the network got right, 0 to 1.
        seed: The seed that the network was trained with.

    Raises:
        UserError: For logits of another shape or type, or an accuracy outside 0 to 1.

    Example:
        >>> bank = LightweightBank(torch.zeros(10, 4, 10), accuracy=0.99, seed=0)
        >>> bank.num_classes, bank.per_class
        (10, 4)
    """

    logits: Tensor
    accuracy: float
    seed: int = 0

    def __post_init__(self) -> None:
        shape = tuple(self.logits.shape)
        if len(shape) != 3 or shape[0] != shape[2] or 0 in shape:
            raise UserError(f"lightweight bank: got logits of shape {shape}, expected (classes, samples, classes)")
        if self.logits.dtype not in (torch.float16, torch.float32):
            raise UserError(f"lightweight bank: got logits of {self.logits.dtype}, expected float16 or float32")
        if not 0 <= self.accuracy <= 1:
            raise UserError(f"lightweight bank: got accuracy {self.accuracy}, expected 0 to 1")

    @property
    def num_classes(self) -> int:
        """Number of classes ``C``."""
        return self.logits.shape[0]

    @property
    def per_class(self) -> int:
        """Number of samples ``N`` of each class."""
        return self.logits.shape[1]

    def save(self, path: str | Path) -> None:
        """Write the bank to a safetensors file, with its accuracy and seed in the metadata.

        Args:
            path: The file to write; an existing one is replaced, missing folders are made.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     LightweightBank(torch.zeros(10, 4, 10), accuracy=0.99).save(f"{folder}/bank.safetensors")
            ...     LightweightBank.load(f"{folder}/bank.safetensors").accuracy
            0.99
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        metadata = {"format": _FORMAT, "accuracy": repr(float(self.accuracy)), "seed": str(self.seed)}
        logits = self.logits.contiguous()
        save_file({"logits": logits}, path, {**metadata, "sha256": content_digest(logits)})

    @classmethod
    def load(cls, path: str | Path) -> "LightweightBank":
        """Read a bank that ``save`` wrote; this runs no code of the file's.

        Args:
            path: The file to read.

        Returns:
            The bank, on the CPU.

        Raises:
            UserError: If there is no such file, or it is no lightweight bank, or a damaged one.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    got = metadata.get("format", "none")
                    raise UserError(f"{path}: got format {got}, expected a lightweight bank ({_FORMAT})")
                logits = file.get_tensor("logits")
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: cannot be read ({error}), expected a lightweight bank") from error
        # A bank of before has no checksum.
        if metadata.get("sha256", digest := content_digest(logits)) != digest:
            raise UserError(f"{path}: is damaged, its logits are not those that were written; delete it")
        return cls(logits, float(metadata["accuracy"]), int(metadata["seed"]))


def train_lightweight(
    num_classes: int,
    *,
    seed: int = 0,
    per_class: int | None = None,
    epochs: int | None = None,
    bank_size: int | None = None,
    device: str | torch.device = "cpu",
    source: str | Path = "sklearn",
) -> LightweightBank:
    """Train a lightweight teacher on synthetic numbers and collect its logits, in seconds on one CPU core.

    All of it is ours, since LW-KD (arXiv 2005.09163) gives only the outline: AdamW, a one-cycle learning rate up to
    0.01, batches of 128. The global random generators are left as they were; on a CPU the same arguments give the same
    bank.

    Args:
        num_classes: Number of classes ``C`` of the target task, 2 to 1000.
        seed: Seed of the synthetic samples, the initial weights and the order of the batches.
        per_class: Training images a class; by default 20,000 images over all classes, but 40 to 500 a class.
        epochs: Passes over them, by default 5.
        bank_size: Samples ``N`` kept for each class; by default 128, fewer above 512 classes (33 at 1000) to keep the
            bank within 64 MiB.
        device: Where to train.
        source: Where the digits come from, as for ``synthesize``.

    Returns:
        A bank of float16 logits on the CPU, of fresh samples drawn like those of the training.

    Raises:
        UserError: For a count out of range, or a source that cannot be used.

    Warns:
        UserWarning: If the network gets fewer than 97 % of held-out samples right, for a weak teacher costs the student
            accuracy.

    Example:
        >>> bank = train_lightweight(2, per_class=300, bank_size=8)
        >>> bank.logits.shape, bank.accuracy > 0.97
        (torch.Size([2, 8, 2]), True)
    """
    check_num_classes(num_classes)
    per_class = min(500, max(40, 20_000 // num_classes)) if per_class is None else per_class
    epochs = _EPOCHS if epochs is None else epochs
    bank_size = min(128, 2**25 // num_classes**2) if bank_size is None else bank_size
    _check_counts(per_class=per_class, epochs=epochs, bank_size=bank_size)
    images, labels = synthesize(num_classes, per_class, seed=seed, source=source)
    with torch.inference_mode(False), torch.enable_grad():
        net = _new_net(num_classes, seed).to(device)
        _train(net, images.to(device), labels.to(device), epochs, seed)
    accuracy = _held_out_accuracy(net, num_classes, seed, source)
    if accuracy < GOOD_ACCURACY:
        share = f"{accuracy:.1%} right on held-out samples, below {GOOD_ACCURACY:.0%}"
        remedy = "a weak teacher costs the student accuracy, more per_class or epochs may help"
        warnings.warn(f"lightweight teacher: {share}; {remedy}", stacklevel=2)
    fresh, _ = synthesize(num_classes, bank_size, seed=derived_seed(seed, 1), source=source)
    return LightweightBank(_predict(net, fresh).half().view(num_classes, bank_size, num_classes), accuracy, seed)


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"{name}: got {value}, expected a whole number of at least 1")


def _new_net(num_classes: int, seed: int) -> LightweightNet:
    # Only the CPU's generator is forked and seeded: torch.manual_seed would reseed every GPU too.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, 2))
        # Channels last trains a third faster on a CPU.
        return LightweightNet(num_classes).to(memory_format=torch.channels_last)


def _train(net: LightweightNet, images: Tensor, labels: Tensor, epochs: int, seed: int) -> None:
    batch_size = min(_BATCH_SIZE, len(labels))
    optimizer = torch.optim.AdamW(net.parameters(), lr=_LEARNING_RATE)
    steps = epochs * (len(labels) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(derived_seed(seed, 3))
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=generator).to(images.device)
        # The rest is dropped, since batch norm's statistics of a few samples are poor.
        for batch in torch.split(order[: len(order) // batch_size * batch_size], batch_size):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(net(images[batch]), labels[batch]))
            optimizer.step()
            schedule.step()
    net.eval()


@torch.no_grad()
def _predict(net: LightweightNet, images: Tensor) -> Tensor:
    device = net.classifier.weight.device
    return torch.cat([net(batch.to(device)).cpu() for batch in torch.split(images, 1024)])


def _held_out_accuracy(net: LightweightNet, num_classes: int, seed: int, source: str | Path) -> float:
    images, labels = synthesize(num_classes, max(10, 2000 // num_classes), seed=seed, held_out=True, source=source)
    return (_predict(net, images).argmax(dim=1) == labels).double().mean().item()


class LightweightTeacher(LabelTeacher):
    """Returns for any sample of class ``k`` the logits of a random synthetic sample of class ``k``.

    So targets vary by instance, which LW-KD (arXiv 2005.09163) misses in teacher-free methods, and since inputs are not
    used, they may be images, text or tables. How a sample draws from the bank is ours. The bank is
    a non-persistent buffer: it moves with the module and is in no state_dict.

    Args:
        bank: The logits to draw from.
        seed: Seed of the draws.
        class_mean: Give every sample the mean logits of its class instead.

    Example:
        >>> bank = LightweightBank(torch.arange(10).diag().float().view(10, 1, 10), accuracy=1.0)
        >>> teacher = LightweightTeacher(bank)
        >>> teacher(None, torch.tensor([3, 7]), torch.tensor([0, 1]), epoch=0).max(dim=1).values
        tensor([3., 7.])
    """

    bank: Tensor

    def __init__(self, bank: LightweightBank, *, seed: int = 0, class_mean: bool = False) -> None:
        super().__init__()
        logits = bank.logits.float().mean(dim=1, keepdim=True) if class_mean else bank.logits
        self.register_buffer("bank", logits, persistent=False)
        self.seed, self.num_classes = seed, len(logits)

    def check(self, num_classes: int, labels: Tensor | None = None) -> None:
        """Check once, before training, that the teacher fits the task (a call checks no values, to spare a GPU sync).

        Args:
            num_classes: Number of classes of the task.
            labels: All labels of the task, int64 of any shape, if they are at hand.

        Raises:
            UserError: If the numbers of classes differ, or a label is out of range.

        Example:
            >>> teacher = LightweightTeacher(LightweightBank(torch.zeros(10, 4, 10), accuracy=0.99))
            >>> teacher.check(10, torch.tensor([0, 9]))
            >>> teacher.check(100)
            Traceback (most recent call last):
            limbeck.errors.UserError: lightweight teacher: was trained for 10 classes, but the task has 100
        """
        if num_classes != self.num_classes:
            trained = f"was trained for {self.num_classes} classes"
            raise UserError(f"lightweight teacher: {trained}, but the task has {num_classes}")
        if labels is not None and labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            span = f"{int(labels.min())} to {int(labels.max())}"
            raise UserError(f"lightweight teacher: got labels {span}, expected 0 to {num_classes - 1}")

    # All teachers have the same signature, so this one takes the inputs too.
    def logits(self, inputs: object, labels: Tensor, indices: Tensor | None = None, epoch: int = 0) -> Tensor:  # noqa: ARG002
        """Give each sample the logits of a synthetic sample of its class.

        Args:
            inputs: Ignored, may be None.
            labels: Classes (B,), int64, on the bank's device.
            indices: The samples' places in the data set (B,), int64: with the seed and the epoch they decide the draw,
                in any order and batch. None draws from torch's global generator of the labels' device.
            epoch: The epoch, from 0.

        Returns:
            Logits (B, C), float32, without gradient.

        Raises:
            UserError: For labels or indices of another shape or type, and on the CPU for a label out of range (a GPU
                reports it as a device-side assertion).
        """
        _check_vector("labels", labels)
        rows = labels * self.bank.shape[1] + self._draw(labels, indices, epoch)
        try:
            return self.bank.flatten(0, 1).index_select(0, rows).float()
        except IndexError as error:
            raise UserError(f"lightweight teacher: a label is not within 0 to {self.num_classes - 1}") from error

    def _draw(self, labels: Tensor, indices: Tensor | None, epoch: int) -> Tensor:
        per_class = self.bank.shape[1]
        if indices is None:
            return torch.randint(per_class, labels.shape, device=labels.device)
        _check_vector("indices", indices)
        if indices.shape != labels.shape:
            got = f"got {len(indices)} indices for {len(labels)} labels"
            raise UserError(f"lightweight teacher: {got}, expected one each")
        return random_integers(indices, per_class, seed=self.seed, epoch=epoch, stream=_STREAM)


def _check_vector(name: str, values: Tensor) -> None:
    if values.ndim != 1 or values.dtype != torch.int64:
        got = f"{values.dtype} of shape {tuple(values.shape)}"
        raise UserError(f"lightweight teacher: got {name} {got}, expected torch.int64 of shape (batch,)")
