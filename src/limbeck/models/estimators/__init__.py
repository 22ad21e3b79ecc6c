"""Classifiers of scikit-learn, and objects like them, as frozen networks."""

from limbeck.models.estimators.network import EstimatorNetwork

__all__ = ["EstimatorNetwork"]
