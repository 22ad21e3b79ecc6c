"""What the augmentations of one strength have in common: without it one view a sample, with it countless ones."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from limbeck.errors import UserError


class Strength(ABC):
    """An augmentation with one setting; subclasses are dataclasses with that field, and name it by :attr:`setting`.

    Example:
        >>> from limbeck.data.text.augment import TokenAugment
        >>> TokenAugment().views, TokenAugment(drop=0.1).views, TokenAugment(drop=0.1).countless
        (1, None, 'drop')
    """

    @property
    @abstractmethod
    def setting(self) -> str:
        """The name of the field."""

    @property
    def countless(self) -> str | None:
        """The name of the setting where it makes views countless, else None."""
        return self.setting if getattr(self, self.setting) else None

    @property
    def views(self) -> int | None:
        """The number of distinct views of a sample: 1, or None where they are countless."""
        return None if self.countless else 1

    @property
    def unaugmented(self) -> int | None:
        """The number of the view that is the sample as it is; None where views are countless."""
        return None if self.countless else 0

    def draw(self, indices: Tensor, *, seed: int, epoch: int) -> Tensor:  # noqa: ARG002 - there is one view alone
        """Return the number of each sample's view: zeros, int64 (N,).

        Raises:
            UserError: If the views are countless.
        """
        if self.countless:
            got = f"augment.{self.countless}: got {getattr(self, self.setting)}"
            raise UserError(f"{got}, expected 0 for views that can be numbered")
        return torch.zeros_like(indices)
