"""A classifier of scikit-learn, or an object like it, as the teacher of a person's own loop."""

from collections.abc import Sequence
from typing import Any

from limbeck.errors import UserError
from limbeck.models.estimators.network import SMALLEST, EstimatorNetwork
from limbeck.teachers.live import LiveTeacher


class EstimatorTeacher(LiveTeacher):
    """Any fitted object with ``predict_proba`` as the teacher: its logits are the logarithms of the probabilities.

    Args:
        estimator: The fitted estimator, of rows as the student's inputs are.
        num_classes: Number of logits; None for the number of classes of the estimator.
        class_names: The names of the classes in the order of the labels, for an estimator that was fitted on names.
        smallest: The least probability: a smaller one, and that of a class which the estimator never saw, counts as it.

    Raises:
        UserError: If the object is not fitted, has no ``predict_proba``, or has a class that is none of these.

    Example:
        >>> import torch
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> nearest = KNeighborsClassifier(1).fit([[0.0], [1.0]], [0, 1])
        >>> EstimatorTeacher(nearest)(torch.tensor([[0.9]])).exp()
        tensor([[1.0000e-06, 1.0000e+00]])
    """

    def __init__(
        self,
        estimator: Any,
        num_classes: int | None = None,
        *,
        class_names: Sequence[str] = (),
        smallest: float = SMALLEST,
    ) -> None:
        network = EstimatorNetwork(estimator, num_classes, class_names=class_names, smallest=smallest)
        if not network.is_fitted:
            raise UserError(f"estimator {network.label}: is not fitted, expected a fitted one")
        super().__init__(network)
