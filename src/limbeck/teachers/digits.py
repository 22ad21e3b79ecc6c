"""The simple synthetic data set of LW-KD: a class's number written out in real handwritten digits.

LW-KD (arXiv 2005.09163) trains its lightweight teacher on "a synthesized simple dataset whose number of classes equals
the target's" and leaves the rest open. How the set is built here - digits side by side, their source, size and jitter -
is this library's own choice.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import UserError
from limbeck.files import content_digest
from limbeck.randomness.hashing import derived_seed

IMAGE_SIZE = 32
MAX_CLASSES = 1000
# Width and height in pixels at which a digit is drawn, by the number of digits in a row.
_DIGIT_BOX = {1: (24.0, 26.0), 2: (16.0, 22.0), 3: (32 / 3, 18.0)}
_GLYPH_SIZE = 16
_ROTATION = math.radians(8)
_SCALE = 0.1
_SHIFT = 1.0
# Images drawn at a time: the sampling grids of a whole large set would take gigabytes.
_CHUNK = 2048
# Scikit-learn's digits do not name their writers, so every fifth image is held out rather than a group of writers.
_HOLD_OUT_EVERY = 5


def synthesize(
    num_classes: int, per_class: int, *, seed: int = 0, held_out: bool = False, source: str | Path = "sklearn"
) -> tuple[Tensor, Tensor]:
    """Draw images of class numbers, each from randomly chosen and slightly distorted handwritten digits.

    Class ``k`` of ``C`` is the number ``k`` in decimal, padded with zeros to the length of ``C - 1`` so that all
    classes look alike: 7 is "7" among 10 classes, "07" among 100 and "007" among 1000. Every digit of every image is
    another handwritten one, rotated by up to 8 degrees, scaled by up to 10 % and shifted by up to a pixel. All of this
    is ours; LW-KD (arXiv 2005.09163) requires only a simple synthesized set with the target's number of classes.

    Args:
        num_classes: Number of classes ``C``, 2 to 1000.
        per_class: Images a class, at least 1.
        seed: The images are a pure function of the arguments and this number.
        held_out: Draw from digits that ``held_out=False`` never uses: every fifth of scikit-learn's, or the test
            files of MNIST (other writers).
        source: ``"sklearn"`` for the 1797 digits bundled with scikit-learn, or the folder that holds MNIST's four idx
            files (``train-images-idx3-ubyte`` and so on, packed as ``.gz`` or not).

    Returns:
        Images, uint8 of shape (C * per_class, 1, 32, 32), light on dark, and labels, int64 of shape (C * per_class,),
        in ascending order of class.

    Raises:
        UserError: For a count out of range, or a source that is missing or is no set of handwritten digits.

    Example:
        >>> images, labels = synthesize(num_classes=100, per_class=3)
        >>> images.shape, images.dtype, labels[-4:].tolist()
        (torch.Size([300, 1, 32, 32]), torch.uint8, [98, 99, 99, 99])
    """
    check_num_classes(num_classes)
    if per_class < 1:
        raise UserError(f"per_class: got {per_class}, expected a whole number of at least 1")
    glyphs, glyph_digits = _load_glyphs(source, held_out=held_out)
    generator = torch.Generator().manual_seed(derived_seed(seed, int(held_out)))
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    picks = _pick_glyphs(_decimal_digits(labels, len(str(num_classes - 1))), glyph_digits, generator)
    transforms = _random_transforms(picks.shape[0], picks.shape[1], generator)
    chunks = zip(torch.split(picks, _CHUNK), torch.split(transforms, _CHUNK), strict=True)
    return torch.cat([_draw(glyphs, chosen, thetas) for chosen, thetas in chunks]), labels


def check_num_classes(num_classes: int) -> None:
    """Refuse a number of classes that no synthetic set can have.

    Args:
        num_classes: The number to check.

    Raises:
        UserError: Unless it is 2 to 1000.

    Example:
        >>> check_num_classes(100)
    """
    if not 2 <= num_classes <= MAX_CLASSES:
        raise UserError(f"num_classes: got {num_classes}, expected 2 to {MAX_CLASSES} for a lightweight teacher")


def source_digest(source: str | Path) -> str:
    """Identify a source of digits by its content, so that a folder that was moved is the same and a changed one is not.

    Args:
        source: As for :func:`synthesize`.

    Returns:
        ``"sklearn"``, or a hash of a folder's training digits, in hexadecimal.

    Raises:
        UserError: If the source is missing or is no set of handwritten digits.

    Example:
        >>> source_digest("sklearn")
        'sklearn'
    """
    if source == "sklearn":
        return source
    images, digits = _mnist_digits(Path(source), held_out=False)
    return content_digest(images, digits)


def _decimal_digits(labels: Tensor, length: int) -> Tensor:
    powers = 10 ** torch.arange(length - 1, -1, -1)
    return labels[:, None] // powers % 10


def _pick_glyphs(digits: Tensor, glyph_digits: Tensor, generator: torch.Generator) -> Tensor:
    """Choose a glyph for each digit, uniformly among those that show it."""
    counts = torch.bincount(glyph_digits, minlength=10)
    firsts = counts.cumsum(0) - counts
    ranks = (torch.rand(digits.shape, generator=generator, dtype=torch.float64) * counts[digits]).long()
    return glyph_digits.argsort(stable=True)[firsts[digits] + ranks]


def _random_transforms(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Affine maps (count, length, 2, 3) from the image's coordinates to those of each jittered digit."""
    angle, scale, shift_x, shift_y = torch.rand(4, count, length, generator=generator) * 2 - 1
    center_x = (torch.arange(length) + 0.5) * IMAGE_SIZE / length - IMAGE_SIZE / 2 + shift_x * _SHIFT
    center_y = shift_y * _SHIFT
    cos, sin = (f(angle * _ROTATION) / (1 + scale * _SCALE) for f in (torch.cos, torch.sin))
    half = IMAGE_SIZE / 2
    row_x = torch.stack([cos * half, sin * half, -cos * center_x - sin * center_y], dim=-1)
    row_y = torch.stack([-sin * half, cos * half, sin * center_x - cos * center_y], dim=-1)
    width, height = _DIGIT_BOX[length]
    return torch.stack([row_x / (width / 2), row_y / (height / 2)], dim=-2)


def _draw(glyphs: Tensor, picks: Tensor, transforms: Tensor) -> Tensor:
    grid = F.affine_grid(transforms.flatten(0, 1), [picks.numel(), 1, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    drawn = F.grid_sample(glyphs[picks.flatten()], grid, align_corners=False)
    # The maximum, not the sum: where two digits touch, the ink must not get brighter.
    images = drawn.view(*picks.shape, IMAGE_SIZE, IMAGE_SIZE).amax(dim=1, keepdim=True)
    return (images * 255).round().to(torch.uint8)


def _load_glyphs(source: str | Path, *, held_out: bool) -> tuple[Tensor, Tensor]:
    """Load digits of ink 0 to 1, float32 (n, 1, 16, 16), and what they show, int64 (n,)."""
    images, digits = _sklearn_digits(held_out) if source == "sklearn" else _mnist_digits(Path(source), held_out)
    size = (_GLYPH_SIZE, _GLYPH_SIZE)
    glyphs = F.interpolate(images, size=size, mode="bicubic", align_corners=False, antialias=True)
    return glyphs.clamp(0, 1), digits


def _sklearn_digits(held_out: bool) -> tuple[Tensor, Tensor]:
    # Loading scikit-learn takes a second, which other teachers do not need.
    from sklearn.datasets import load_digits

    bundle = load_digits()
    chosen = (torch.arange(len(bundle.target)) % _HOLD_OUT_EVERY == _HOLD_OUT_EVERY - 1) == held_out
    images = torch.tensor(bundle.images, dtype=torch.float32)[:, None] / 16
    return images[chosen], torch.tensor(bundle.target, dtype=torch.int64)[chosen]


def _mnist_digits(folder: Path, held_out: bool) -> tuple[Tensor, Tensor]:
    # It imports torchvision, which other teachers do not need.
    from limbeck.data.images.mnist import read_idx_split

    try:
        split = read_idx_split(
            folder, "MNIST", "t10k" if held_out else "train", "expected MNIST's idx files, or 'sklearn'"
        )
    except UserError as error:
        raise UserError(f"source: {str(error).removeprefix('data.root: ')}") from error
    if split.shape != (1, 28, 28):
        raise UserError(f"source: {folder} holds images of shape {split.shape}, expected MNIST's (1, 28, 28)")
    if (digits := sorted(set(split.labels.tolist()))) != list(range(10)):
        raise UserError(f"source: {folder} holds the labels {digits}, expected every digit from 0 to 9")
    # MNIST puts a digit of 20 x 20 into the middle of an empty margin.
    return split.images[..., 4:24, 4:24].float() / 255, split.labels
