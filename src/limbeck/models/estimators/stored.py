"""Fitted estimators in files of skops, which run no code."""

from pathlib import Path
from typing import Any

from limbeck.errors import UserError, one_line, shortened
from limbeck.files import expanded
from limbeck.imports import optional_package

# Parts of scikit-learn's classifiers that skops does not trust by itself; they hold arrays and numbers.
_TRUSTED = (
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.gaussian_process.kernels.Sum",
    "sklearn.gaussian_process.kernels.WhiteKernel",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.ManhattanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)


def save_estimator(path: Path, estimator: object) -> None:
    """Write a fitted estimator as a file of skops.

    Args:
        path: The file; its folder exists.
        estimator: A classifier of scikit-learn.

    Raises:
        UserError: If skops is not installed, or the estimator has parts that :func:`load_estimator` would refuse.
    """
    io = optional_package("skops.io", "tables", "storing an estimator")
    try:
        content = io.dumps(estimator)
    except Exception as error:  # skops raises whatever the parts of the object raise
        kind = type(estimator).__name__
        raise UserError(f"estimator {kind}: cannot be stored by skops ({one_line(error)})") from error
    _check_types(io, f"estimator {type(estimator).__name__}", data=content)
    path.write_bytes(content)


def load_estimator(path: str | Path, name: str = "estimator") -> Any:
    """Read a fitted estimator from a file of skops; a pickle, or a file with types of other packages, is refused.

    Args:
        path: The file.
        name: What begins the line of an error.

    Returns:
        The estimator.

    Raises:
        UserError: If skops is not installed, the file cannot be read, or it holds a type that is not one of
            scikit-learn's classifiers and their parts.

    Example:
        >>> import tempfile
        >>> from sklearn.naive_bayes import GaussianNB
        >>> path = Path(tempfile.mkdtemp()) / "bayes.skops"
        >>> save_estimator(path, GaussianNB().fit([[0.0], [1.0]], [0, 1]))
        >>> load_estimator(path).predict([[0.9]])
        array([1])
    """
    io, label = optional_package("skops.io", "tables", f"reading {path}"), f"{name} weights {shortened(str(path), 200)}"
    file = expanded(path)
    if file.exists() and not file.is_file():
        raise UserError(f"{label}: is no regular file, expected one of skops")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{label}: cannot be read ({error.strerror})") from None
    if not content.startswith(b"PK"):
        # Neither a pickle nor joblib's file is opened: reading one runs what it holds.
        raise UserError(f"{label}: is no file of skops, expected one written by skops.io.dump")
    _check_types(io, label, data=content)
    try:
        return io.loads(content, trusted=list(_TRUSTED))
    except Exception as error:  # a damaged file raises no common type
        raise UserError(f"{label}: is damaged or of another version ({one_line(error)})") from error


def _check_types(io: Any, label: str, *, data: bytes) -> None:
    try:
        unknown = sorted(set(io.get_untrusted_types(data=data)) - set(_TRUSTED))
    except Exception as error:  # a damaged file raises no common type
        raise UserError(f"{label}: is no file of skops, or a damaged one ({one_line(error)})") from error
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        got = f"holds the type {shortened(unknown[0])}{more}"
        raise UserError(f"{label}: {got}, expected scikit-learn's own classifiers alone")
