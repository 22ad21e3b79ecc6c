"""Classifiers of scikit-learn, by the name of their class."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from limbeck.errors import UserError, one_line, unknown_name
from limbeck.models.estimators.network import EstimatorNetwork
from limbeck.models.options import check_options

_MODULES = (
    "calibration",
    "discriminant_analysis",
    "ensemble",
    "gaussian_process",
    "linear_model",
    "naive_bayes",
    "neighbors",
    "neural_network",
    "svm",
    "tree",
)


def estimator_network(name: str, *, num_classes: int, options: Mapping[str, object]) -> EstimatorNetwork:
    """Build an unfitted classifier of scikit-learn as a network.

    Args:
        name: The name of its class, such as ``"RandomForestClassifier"``.
        num_classes: Number of logits.
        options: Keyword arguments of the class.

    Returns:
        The network, which gives all classes the same logit until it is fitted.

    Raises:
        UserError: If scikit-learn has no such classifier, it takes no such options, or it gives no probabilities.

    Example:
        >>> estimator_network("RandomForestClassifier", num_classes=3, options={"n_estimators": 20}).estimator
        RandomForestClassifier(n_estimators=20)
    """
    classes = _classifiers()
    if name not in classes:
        raise unknown_name("classifier of scikit-learn", name, classes)
    label, kind = f"sklearn:{name}", classes[name]
    check_options(label, options, inspect.signature(kind).parameters)
    try:
        estimator = kind(**options)
    except Exception as error:  # another's code may raise anything
        raise UserError(f"model {label!r} could not be built: {one_line(error)}") from error
    return EstimatorNetwork(estimator, num_classes)


def _classifiers() -> dict[str, Any]:
    from sklearn.base import ClassifierMixin

    modules = [import_module(f"sklearn.{name}") for name in _MODULES]
    public = {name: kind for module in modules for name, kind in inspect.getmembers(module, inspect.isclass)}
    return {
        name: kind for name, kind in public.items() if issubclass(kind, ClassifierMixin) and kind is not ClassifierMixin
    }
