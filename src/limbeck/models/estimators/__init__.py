"""Classifiers of scikit-learn, and objects like them, as frozen networks."""
