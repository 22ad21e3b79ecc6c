"""Classifiers of scikit-learn as networks: values against ``predict_proba``, files, digests."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
import skops.io
import torch
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from limbeck import models
from limbeck.cache import teacher_hash
from limbeck.errors import UserError
from limbeck.models.estimators import EstimatorNetwork
from limbeck.models.estimators.digest import estimator_digest
from limbeck.teachers import EnsembleTeacher, EstimatorTeacher

IRIS = load_iris()
ROWS, CLASSES = IRIS.data.astype("float32", order="C"), IRIS.target
INPUTS, LABELS = torch.from_numpy(ROWS), torch.from_numpy(CLASSES)
KINDS = {
    "forest": RandomForestClassifier(7, random_state=0),
    "extra": ExtraTreesClassifier(7, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=5, random_state=0),
    "histogram": HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "ada": AdaBoostClassifier(n_estimators=5, random_state=0),
    "tree": DecisionTreeClassifier(random_state=0),
    "neighbors": KNeighborsClassifier(),
    "logistic": LogisticRegression(max_iter=500),
    "mlp": MLPClassifier((4,), max_iter=20, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
}


def fitted(kind):
    with np.errstate(all="ignore"):
        return KINDS[kind].fit(ROWS, CLASSES)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_the_logarithms_of_the_probabilities(kind, tmp_path):
    estimator = fitted(kind)
    network = EstimatorNetwork(estimator, 3)
    expected = np.log(np.maximum(estimator.predict_proba(ROWS).astype("float64"), 1e-6)).astype(np.float32)
    output = network(INPUTS)
    assert output.dtype == torch.float32
    assert np.array_equal(output.numpy(), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(INPUTS), output)
    network.save(tmp_path / "kept.skops")
    first, second = EstimatorNetwork(KINDS[kind], 3), EstimatorNetwork(KINDS[kind], 3)
    for again in (first, second):
        again.load(tmp_path / "kept.skops")
        assert torch.equal(again(INPUTS), output)
    assert torch.equal(first.digest, second.digest)
    assert torch.equal(first.digest, network.digest) or kind == "neighbors"


def test_classes_that_were_never_seen_get_the_smallest():
    seen = LABELS != 1
    network = EstimatorNetwork(DecisionTreeClassifier().fit(ROWS[seen], CLASSES[seen]), 4, smallest=1e-3)
    output = network(INPUTS[seen])
    assert torch.equal(output.argmax(1), LABELS[seen])
    assert torch.equal(output[:, [1, 3]], torch.full((100, 2), 1e-3).log())


def test_an_estimator_of_names_answers_in_the_order_of_the_data():
    names = np.array(["zebra", "ant", "bee"])
    estimator = DecisionTreeClassifier().fit(ROWS, names[CLASSES])
    assert torch.equal(EstimatorNetwork(estimator, class_names=names.tolist())(INPUTS).argmax(1), LABELS)
    with pytest.raises(UserError, match="has the class 'zebra', expected 0 to 2 or the names of the data's classes"):
        EstimatorNetwork(estimator, class_names=["ant", "bee", "cat"])
    counted = DecisionTreeClassifier().fit(ROWS, CLASSES + 1)
    assert torch.equal(EstimatorNetwork(counted, class_names=["1", "2", "3"])(INPUTS).argmax(1), LABELS)


def test_positions_are_not_mistaken_for_names():
    few = DecisionTreeClassifier().fit(ROWS[:100], CLASSES[:100] + 1)
    with pytest.raises(UserError, match=r"has the classes \[1, 2\], which are both positions and names of classes"):
        EstimatorNetwork(few, class_names=["1", "2", "3"])
    assert EstimatorNetwork(few, class_names=["0", "1", "2"])(INPUTS[:1]).argmax() == 1


def test_an_estimator_of_several_labels_is_refused():
    several = RandomForestClassifier(2).fit(ROWS, np.stack([CLASSES, CLASSES.clip(max=1)], axis=1))
    with pytest.raises(UserError, match="predicts several labels"):
        EstimatorNetwork(several, 3)


def test_before_its_fit_all_classes_are_alike_and_a_seed_decides_the_fit():
    networks = [models.create("sklearn:RandomForestClassifier", num_classes=3, n_estimators=5) for _ in range(3)]
    assert networks[0](INPUTS).unique().tolist() == [0.0]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        assert network.fit(INPUTS, LABELS, seed=seed) == ()
    assert torch.equal(networks[0].digest, networks[1].digest)
    assert not torch.equal(networks[0].digest, networks[2].digest)
    expected = RandomForestClassifier(5, random_state=1).fit(ROWS, CLASSES).predict_proba(ROWS)
    assert np.array_equal(networks[2](INPUTS).numpy(), np.log(np.maximum(expected, 1e-6)).astype(np.float32))


def test_a_given_state_is_kept_and_warnings_are_returned():
    network = models.create("sklearn:LogisticRegression", num_classes=3, max_iter=2, random_state=5)
    (line,) = network.fit(INPUTS, LABELS, seed=0)
    assert line.startswith("LogisticRegression: ConvergenceWarning: ")
    assert "\n" not in line
    assert network.estimator.random_state == 5


def test_the_hash_of_a_teacher_tells_two_estimators_apart():
    hashes = {
        teacher_hash(EstimatorTeacher(RandomForestClassifier(3, random_state=seed).fit(ROWS, CLASSES)))
        for seed in (0, 0, 1)
    }
    assert len(hashes) == 2


def test_the_digest_is_the_same_in_another_process():
    code = """
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from limbeck.models.estimators.digest import estimator_digest
x, y = load_iris(return_X_y=True)
x = x.astype("float32")
for kind in (RandomForestClassifier(5, random_state=0), HistGradientBoostingClassifier(max_iter=3, random_state=0)):
    print(estimator_digest(kind.fit(x, y.astype("int64"))).hex())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kinds = RandomForestClassifier(5, random_state=0), HistGradientBoostingClassifier(max_iter=3, random_state=0)
    assert done.stdout.split() == [estimator_digest(kind.fit(ROWS, CLASSES)).hex() for kind in kinds]


def test_a_digest_of_objects_in_a_circle():
    first, second = LogisticRegression(), LogisticRegression()
    first.self, second.self = first, second
    assert estimator_digest(first) == estimator_digest(second)
    second.C = 2
    assert estimator_digest(first) != estimator_digest(second)


def test_a_pickle_is_never_loaded(tmp_path):
    network, estimator = EstimatorNetwork(KINDS["tree"], 3), fitted("tree")
    (tmp_path / "a.skops").write_bytes(pickle.dumps(estimator))
    joblib.dump(estimator, tmp_path / "b.joblib")
    (tmp_path / "c.skops").write_bytes(b"PK\x03\x04 damaged")
    for name in ("a.skops", "b.joblib", "c.skops"):
        with pytest.raises(UserError, match=f"{name}'?: is no file of skops"):
            network.load(tmp_path / name)


class Foreign(DecisionTreeClassifier):
    """A class that is not scikit-learn's."""


def test_types_of_others_are_refused(tmp_path):
    skops.io.dump(Foreign().fit(ROWS, CLASSES), tmp_path / "foreign.skops")
    with pytest.raises(UserError, match=r"holds the type '.*Foreign', expected scikit-learn's own classifiers alone"):
        EstimatorNetwork(Foreign(), 3).load(tmp_path / "foreign.skops")
    skops.io.dump({"a": 1}, tmp_path / "mapping.skops")
    with pytest.raises(UserError, match="holds a dict, expected a DecisionTreeClassifier"):
        EstimatorNetwork(DecisionTreeClassifier(), 3).load(tmp_path / "mapping.skops")
    skops.io.dump(DecisionTreeClassifier(), tmp_path / "new.skops")
    with pytest.raises(UserError, match="the DecisionTreeClassifier is not fitted"):
        EstimatorNetwork(DecisionTreeClassifier(), 3).load(tmp_path / "new.skops")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EstimatorNetwork(LinearSVC(), 3), "estimator LinearSVC: has no predict_proba"),
        (lambda: EstimatorNetwork(SVC(), 3), "estimator SVC: has no predict_proba"),
        (lambda: EstimatorNetwork(DecisionTreeClassifier()), "is not fitted, expected a fitted one, or num_classes"),
        (lambda: EstimatorNetwork(DecisionTreeClassifier(), 3, smallest=0), "smallest: got 0, expected a probability"),
        (lambda: EstimatorTeacher(DecisionTreeClassifier(), 3), "is not fitted, expected a fitted one"),
        (lambda: EstimatorNetwork(fitted("tree"), 3)(INPUTS[:, :2]), "got 2 numbers a sample, expected 4"),
        (lambda: EstimatorNetwork(fitted("tree"), 2), "has the class 0, expected 0 to 1|has the class"),
        (lambda: models.create("sklearn:RandomForest", num_classes=3), "unknown classifier of scikit-learn 'RandomFo"),
        (lambda: models.create("sklearn:Ridge", num_classes=3), "unknown classifier of scikit-learn 'Ridge'"),
        (lambda: models.create("sklearn:SVC", num_classes=3), "estimator SVC: has no predict_proba"),
        (
            lambda: models.create("sklearn:RandomForestClassifier", num_classes=3, n_estimator=3),
            "unknown sklearn:RandomForestClassifier option 'n_estimator'; did you mean 'n_estimators'",
        ),
        (
            lambda: models.create("sklearn:RandomForestClassifier", num_classes=3, n_estimators=-1).fit(
                INPUTS, LABELS, seed=0
            ),
            "RandomForestClassifier: cannot be fitted: InvalidParameterError",
        ),
    ],
)
def test_what_cannot_be_a_teacher_is_named(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_an_estimator_beside_a_network_in_an_ensemble():
    pair = EnsembleTeacher([EstimatorTeacher(fitted("forest")), torch.nn.Linear(4, 3)])
    assert pair(INPUTS).shape == (150, 3)
    assert "CPU" in pair.why_not_recordable()
