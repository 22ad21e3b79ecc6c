"""A classifier with ``predict_proba`` as a network: inputs to log-probabilities, without gradients."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.errors import UserError, one_line, shortened
from limbeck.models.estimators.digest import estimator_digest
from limbeck.models.estimators.stored import load_estimator, save_estimator

SMALLEST = 1e-6


class EstimatorNetwork(nn.Module):
    """Any object with scikit-learn's ``predict_proba`` as a frozen network: inputs to log-probabilities.

    Inputs of several dimensions are flattened to a row each. The logits are the logarithms of the probabilities, and a
    probability below ``smallest`` counts as ``smallest``: a forest gives many classes exactly zero. A class that the
    estimator never saw counts so, too. Before it is fitted, an estimator gives all classes the same logit.

    Args:
        estimator: The estimator, fitted or not.
        num_classes: Number of logits; None for the number of classes of a fitted estimator.
        class_names: The names of the classes in the order of the logits, for an estimator that was fitted on names.
            Classes that are whole numbers below ``num_classes`` are positions.
        smallest: The least probability, in (0, 1).
        named_later: Whether :meth:`name_classes` follows for an estimator that was fitted on names.

    Raises:
        UserError: If the object has no ``predict_proba``, or it has a class that is none of these.

    Example:
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> nearest = KNeighborsClassifier(1).fit([[0.0], [1.0]], [0, 2])
        >>> EstimatorNetwork(nearest, num_classes=3)(torch.tensor([[0.9]])).exp()
        tensor([[1.0000e-06, 1.0000e-06, 1.0000e+00]])
    """

    why_not_recordable: ClassVar[str] = "an estimator of scikit-learn is run on the CPU"
    digest: Tensor
    _columns: list[int] | None

    def __init__(
        self,
        estimator: Any,
        num_classes: int | None = None,
        *,
        class_names: Sequence[str] = (),
        smallest: float = SMALLEST,
        named_later: bool = False,
    ) -> None:
        super().__init__()
        self.label = type(estimator).__name__
        if not callable(getattr(estimator, "predict_proba", None)):
            expected = "expected a classifier with probabilities, such as RandomForestClassifier"
            raise UserError(f"estimator {self.label}: has no predict_proba, {expected}")
        if not 0 < smallest < 1:
            raise UserError(f"smallest: got {shortened(smallest)}, expected a probability between 0 and 1")
        self.num_classes = num_classes or len(class_names) or len(getattr(estimator, "classes_", ()))
        if not self.num_classes:
            raise UserError(f"estimator {self.label}: is not fitted, expected a fitted one, or num_classes")
        self.smallest = smallest
        self.register_buffer("digest", torch.zeros(32, dtype=torch.uint8))
        if named_later and _has_names(estimator):
            self._estimator, self._columns = estimator, None
        else:
            self._adopt(estimator, class_names)

    @property
    def estimator(self) -> Any:
        """The estimator itself."""
        return self._estimator

    @property
    def is_fitted(self) -> bool:
        """Whether the estimator has its classes."""
        return getattr(self._estimator, "classes_", None) is not None

    def _adopt(self, estimator: Any, class_names: Sequence[str] = ()) -> None:
        known = getattr(estimator, "classes_", None)
        if isinstance(known, list) and any(isinstance(entry, np.ndarray) for entry in known):
            raise UserError(f"estimator {self.label}: predicts several labels, expected one class a sample")
        columns = None if known is None else _columns(self.label, np.asarray(known), self.num_classes, class_names)
        # Names with an underscore: they are no plain settings, and what they hold is in the digest.
        self._estimator, self._columns = estimator, columns
        if columns is not None:
            self.digest.copy_(torch.frombuffer(bytearray(_hashed(estimator, self.label)), dtype=torch.uint8))

    def name_classes(self, class_names: Sequence[str]) -> None:
        """Set which names the logits belong to, for an estimator that was fitted on names.

        Raises:
            UserError: If the estimator has a class that is none of these.
        """
        self._adopt(self._estimator, class_names)

    def fit(self, inputs: Tensor, labels: Tensor, *, seed: int) -> tuple[str, ...]:
        """Fit a copy of the estimator on (N, ...) inputs and (N,) class numbers, which takes its place.

        Args:
            inputs: As the network takes them.
            labels: Class numbers.
            seed: Given to every ``random_state`` that is None.

        Returns:
            The warnings of the training, in lines.

        Raises:
            UserError: If the estimator refuses its settings or the samples.

        Example:
            >>> from sklearn.tree import DecisionTreeClassifier
            >>> network = EstimatorNetwork(DecisionTreeClassifier(), num_classes=2)
            >>> network.fit(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), seed=0)
            ()
            >>> network(torch.tensor([[0.2]])).argmax()
            tensor(0)
        """
        estimator = _unfitted(self._estimator)
        if hasattr(estimator, "get_params"):
            drawing = [key for key, value in estimator.get_params().items() if _is_unseeded(key, value)]
            estimator.set_params(**dict.fromkeys(drawing, seed % 2**32))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                estimator.fit(_rows(inputs), labels.cpu().numpy())
            except Exception as error:  # another's code may raise anything
                raise UserError(f"estimator {self.label}: cannot be fitted: {one_line(error)}") from error
        self._adopt(estimator)
        lines = [f"{self.label}: {entry.category.__name__}: {' '.join(str(entry.message).split())}" for entry in caught]
        return tuple(dict.fromkeys(lines))

    def save(self, path: Path) -> None:
        """Write the fitted estimator as a file of skops.

        Raises:
            UserError: If it cannot be stored.
        """
        save_estimator(path, self._estimator)

    def load(self, path: str | Path, *, name: str = "estimator", class_names: Sequence[str] = ()) -> None:
        """Take the fitted estimator of a file of skops.

        Raises:
            UserError: If the file cannot be used, is of another class than this, or is not fitted.
        """
        loaded, label = load_estimator(path, name), f"{name} weights {shortened(str(path), 200)}"
        if type(loaded) is not type(self._estimator):
            raise UserError(f"{label}: holds a {type(loaded).__name__}, expected a {self.label}")
        if getattr(loaded, "classes_", None) is None:
            raise UserError(f"{label}: the {self.label} is not fitted, expected a fitted one")
        self._adopt(loaded, class_names)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, ...) inputs to (N, num_classes) log-probabilities in float32, on the inputs' device.

        Raises:
            UserError: If the estimator was fitted on rows of another length.
        """
        if not self.is_fitted:
            return torch.zeros(len(inputs), self.num_classes, device=inputs.device)
        if self._columns is None:
            raise UserError(f"estimator {self.label}: was fitted on names of classes, expected name_classes before")
        rows = _rows(inputs)
        expected = getattr(self._estimator, "n_features_in_", rows.shape[1])
        if rows.shape[1] != expected:
            raise UserError(f"estimator {self.label}: got {rows.shape[1]} numbers a sample, expected {expected}")
        known = np.asarray(self._estimator.predict_proba(rows), np.float64)
        probabilities = np.zeros((len(rows), self.num_classes))
        probabilities[:, self._columns] = known
        return torch.from_numpy(np.log(np.maximum(probabilities, self.smallest))).float().to(inputs.device)


def _rows(inputs: Tensor) -> Any:
    # Another layout would add up in another order.
    return inputs.detach().float().flatten(1).contiguous().cpu().numpy()


def _hashed(estimator: Any, label: str) -> bytes:
    try:
        return estimator_digest(estimator)
    except Exception as error:  # parts that cannot be copied raise no common type
        raise UserError(f"estimator {label}: holds what cannot be copied ({one_line(error)})") from error


def _is_unseeded(key: str, value: object) -> bool:
    return value is None and (key == "random_state" or key.endswith("__random_state"))


def _has_names(estimator: object) -> bool:
    return np.asarray(getattr(estimator, "classes_", ())).dtype.kind in "UOS"


def _unfitted(estimator: Any) -> Any:
    from sklearn.base import clone

    return clone(estimator, safe=False)


def _columns(label: str, known: Any, num_classes: int, class_names: Sequence[str]) -> list[int]:
    """Return the position among the logits of each class of an estimator."""
    if known.ndim != 1:
        raise UserError(f"estimator {label}: predicts several labels, expected one class a sample")
    places = {name: place for place, name in enumerate(class_names)}
    if known.dtype.kind in "iub" and known.min() >= 0 and known.max() < num_classes:
        positions, named = [int(value) for value in known], [places.get(str(value)) for value in known.tolist()]
        if None not in named and named != positions:
            got = f"has the classes {shortened(known.tolist())}, which are both positions and names of classes"
            raise UserError(f"estimator {label}: {got}, expected one that was fitted on texts, or on every class")
        return positions
    unknown = [value for value in known.tolist() if str(value) not in places]
    if unknown:
        expected = f"expected 0 to {num_classes - 1}" + (" or the names of the data's classes" if class_names else "")
        raise UserError(f"estimator {label}: has the class {shortened(unknown[0])}, {expected}")
    return [places[str(value)] for value in known.tolist()]
