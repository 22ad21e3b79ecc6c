"""Rotation of a batch of images, each by its own angle."""

import torch
from torch import Tensor
from torch.nn import functional as F


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Rotate each image about its center, counter-clockwise for positive angles.

    Pixels are interpolated bilinearly, a choice of limbeck's (torchvision's RandomRotation takes the nearest by
    default), and what lies outside of an image is 0, as in the padding of a crop. An image's result does not
    depend on the others in the batch.

    Args:
        images: Pixels, uint8 or float32 (N, C, H, W).
        angles: Degrees, (N,), on the same device.

    Returns:
        float32 (N, C, H, W) in the range and the memory format of ``images``, unrounded.

    Example:
        >>> image = torch.tensor([[[[0, 40], [80, 120]]]], dtype=torch.uint8)
        >>> rotate(image, torch.tensor([90.0])).round().tolist()
        [[[[40.0, 120.0], [0.0, 80.0]]]]
    """
    pixels = images.to(torch.float32, copy=True)
    grid = _sources(angles, *images.shape[2:])
    # Into the copy, which has the strides of the images: `grid_sample` chooses its own.
    return pixels.copy_(F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False))


def _sources(angles: Tensor, height: int, width: int) -> Tensor:
    # Not `affine_grid`: its matrix product takes autocast's precision, which misplaces pixels by a tenth of their size.
    # In float64 up to here, as sine and cosine may differ in their last digit with the length of the tensor.
    turn = angles.double().deg2rad().view(-1, 1, 1)
    cos, sin = turn.cos().float(), turn.sin().float()
    y, x = (torch.arange(side, dtype=torch.float32, device=angles.device) - (side - 1) / 2 for side in (height, width))
    y = y.view(-1, 1)
    return torch.stack(((cos * x - sin * y) * (2 / width), (sin * x + cos * y) * (2 / height)), dim=3)
