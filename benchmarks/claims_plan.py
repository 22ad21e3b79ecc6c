"""What the claims of the four systems are, and the runs that show whether they hold."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from claims_sets import UNVARIED, Images
from limbeck import methods
from limbeck.errors import UserError

SGD = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
ADAMW = {"name": "adamw", "weight_decay": 0.01}
# After which seeds the next claim's turn comes.
WAVE = 3


def training(epochs: int, lr: float, optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe's ``training``; what counts is the last epoch, and nothing else is measured."""
    common = {"batch_size": 64, "optimizer": {**optimizer, "lr": lr}, "schedule": "one_cycle"}
    return {**common, "epochs": epochs, "evaluate_every": epochs, "checkpoint_every": epochs}


@dataclass(frozen=True)
class Setting:
    """A student: its images, its network and how long it is trained."""

    images: Images
    epochs: int
    network: str = "resnet8"
    width: float = 1.0
    crop: int = 2
    lr: float = 0.1
    options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=lambda: SGD)


@dataclass(frozen=True)
class Teacher:
    """A network that the runs of all methods and seeds share.

    Attributes:
        images: What it is trained on; None for one that nobody here trained.
        network: Its name.
        options: Of the network.
        epochs: How long it is trained.
        about: What it is, in words.
        augmented: Whether it sees shifted and mirrored images.
        inputs: What the recipe's ``teacher`` holds on its inputs, ``normalize`` and ``size``.
        lr: The largest learning rate.
        optimizer: The recipe's, but for the learning rate.
    """

    images: Images | None
    network: str
    options: Mapping[str, Any]
    epochs: int
    about: str
    augmented: bool = True
    inputs: Mapping[str, Any] = field(default_factory=dict)
    lr: float = 0.1
    optimizer: Mapping[str, Any] = field(default_factory=lambda: SGD)


@dataclass(frozen=True)
class Method:
    """A row of a table.

    Attributes:
        label: Its name there.
        name: The method's name.
        settings: The method's settings; ``ratio: right`` stands for the share of images that the teacher has right.
        teacher: Further keys of the recipe's ``teacher``.
        longer: The number of epochs, as a multiple of the setting's.
        tier: Rows of a higher one come later.
    """

    label: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    longer: int = 1
    tier: int = 0

    def composed(self) -> methods.Method:
        """Compose it; the ratio that a teacher decides is left at the default."""
        return methods.create(self.name, **{key: value for key, value in self.settings.items() if value != "right"})

    @property
    def source(self) -> str | None:
        """The kind of teacher that it needs, as :meth:`limbeck.recipes.schema.Recipe.source` has it."""
        needed = self.composed().teacher
        return str(self.teacher.get("source", "live")) if needed == "any" else needed


@dataclass(frozen=True)
class Regime:
    """Where a claim is tried.

    Attributes:
        name: Its name in tables.
        setting: A name of ``Claim.settings``.
        teacher: A name of the budget's teachers; None for claims that bring their own.
        expected: Whether the claim must hold there.
        tier: As for a method.
    """

    name: str
    setting: str
    teacher: str | None = None
    expected: bool = True
    tier: int = 0


@dataclass(frozen=True)
class Claim:
    """A claim of one of the systems, or about all of them.

    Attributes:
        letter: What ``--only`` names it by.
        title: Of its table.
        text: What is claimed.
        regimes: Where.
        methods: Which rows.
        questions: Pairs of rows, the first of which the claim has ahead of the second.
        choices: Rows that are the best of others on the validation split, by their labels.
    """

    letter: str
    title: str
    text: str
    regimes: tuple[Regime, ...]
    methods: tuple[Method, ...]
    questions: tuple[tuple[str, str], ...]
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """Claims with what they are tried on.

    Attributes:
        label: What it is.
        claims: The claims, the most valuable first.
        settings: The students by name.
        teachers: The teachers by name.
        seeds: How many.
        test_limit: How many test images; None for all.
        lightweight: Settings of LW-KD's teacher.
    """

    label: str
    claims: tuple[Claim, ...]
    settings: Mapping[str, Setting]
    teachers: Mapping[str, Teacher]
    seeds: int
    test_limit: int | None = None
    lightweight: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        claim: Letter of the claim.
        regime: The regime.
        method: The method.
        seed: The seed.
        recipe: The run, without the weights of the teacher.
        teacher: The recipe that its live teacher is trained by, or what else identifies it; None without one.
    """

    claim: str
    regime: Regime
    method: Method
    seed: int
    recipe: Mapping[str, Any]
    teacher: Mapping[str, Any] | None

    @property
    def key(self) -> str:
        """What the run depends on, as a digest: claims share the runs that are the same."""
        return digest({"recipe": self.recipe, "teacher": self.teacher})


def digest(values: object) -> str:
    """Hash plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def available(method: Method) -> bool:
    """Return whether the library has all parts of a method."""
    try:
        methods.create(method.name)
    except UserError:
        return False
    return True


def data_of(images: Images, crop: int, test_limit: int | None) -> dict[str, Any]:
    """Return the recipe's ``data``."""
    limits = {} if test_limit is None else {"test_limit": test_limit}
    if images.source in UNVARIED:
        return {"name": images.name, **limits}
    moved = {"crop": crop} if crop else {}
    return {"name": images.name, "augment": {**moved, "flip": True}, **limits}


def teacher_recipe(budget: Budget, name: str) -> dict[str, Any]:
    """Return the recipe that a teacher is trained by; without ``data`` for one that is trained already."""
    teacher = budget.teachers[name]
    network = {"name": teacher.network, "options": dict(teacher.options)}
    if teacher.images is None:
        return {"student": network}
    crop = 4 if teacher.images.source.startswith("cifar") else 2
    data = data_of(teacher.images, crop, budget.test_limit)
    if not teacher.augmented:
        data.pop("augment", None)
    trained = training(teacher.epochs, teacher.lr, teacher.optimizer)
    return {"data": data, "student": network, "method": "none", "training": trained}


def row_of(budget: Budget, claim: Claim, regime: Regime, method: Method, seed: int) -> Row:
    """Make one run."""
    setting, source = budget.settings[regime.setting], method.source
    options = {**({} if setting.width == 1 else {"width": setting.width}), **setting.options}
    recipe: dict[str, Any] = {
        "data": data_of(setting.images, setting.crop, budget.test_limit),
        "student": {"name": setting.network, "options": options},
        "method": {"name": method.name, **method.settings},
        "training": training(setting.epochs * method.longer, setting.lr, setting.optimizer),
        "seed": seed,
    }
    live = budget.teachers[regime.teacher] if source == "live" and regime.teacher else None
    if source in ("live", "self"):
        recipe["teacher"] = {"cache": "views", **(live.inputs if live else {}), **method.teacher}
    if source == "self":
        # A first training for each seed, so that the spread holds that of the teacher too.
        recipe["teacher"] |= {"source": "self", "seed": 100 + seed}
    if source == "lightweight":
        lightweight = {**budget.lightweight, **method.teacher.get("lightweight", {})}
        recipe["teacher"] = {"source": "lightweight", **({"lightweight": lightweight} if lightweight else {})}
    teacher = teacher_recipe(budget, regime.teacher) if live and regime.teacher else None
    return Row(claim.letter, regime, method, seed, recipe, teacher)


def rows_of_claim(budget: Budget, claim: Claim, seeds: Sequence[int]) -> Iterator[Row]:
    """List the runs of a claim; seeds outside, so that a table that is stopped early holds every method."""
    for seed in seeds:
        for regime in claim.regimes:
            for method in filter(available, claim.methods):
                if method.source != "live" or regime.teacher is not None:
                    yield row_of(budget, claim, regime, method, seed)


def plan(budget: Budget, only: Sequence[str], seeds: int | None = None) -> list[Row]:
    """List all runs: the first seeds of every claim, tier by tier, then the further seeds."""
    chosen = [claim for claim in budget.claims if claim.letter in only]
    rows = [row for claim in chosen for row in rows_of_claim(budget, claim, range(seeds or budget.seeds))]
    # Sorting is stable: within a wave and a tier the claims keep their order.
    return sorted(rows, key=lambda row: (row.seed // WAVE, row.method.tier + row.regime.tier))
