"""The runs of the CIFAR-100 table: pairs, methods and seeds, and the recipe of each by the papers' settings."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck.recipes.method_settings import without_label
from limbeck.runs import Recipe, RunFolder, load_recipe, parse_overrides
from published import PUBLISHED

# Our own composition, the last one in a table.
OURS = "lr+dist"
# A selection is shown beside a random one of the same size.
METHODS = ("none", "kd", "dist", "dkd", "lskd+dkd", "lr", "lr_ds", "lr_ds@random", "dr_kd", "lw_kd", OURS)
# The settings of the papers for CIFAR-100 where they are not limbeck's defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "dist": {"beta": 2, "gamma": 2, "temperature": 4},
    "dr_kd": {"alpha": 0.95, "temperature": 6},
    "lr_ds@random": {"scorer": "random"},
}
# DKD's beta by pair, from its released configurations; 8 elsewhere.
BETAS = {
    "resnet56 -> resnet20": 2,
    "resnet110 -> resnet32": 2,
    "wrn_40_2 -> wrn_16_2": 6,
    "wrn_40_2 -> wrn_40_1": 6,
    "vgg13 -> vgg8": 6,
}
# Beside standardized logits its released code multiplies DKD's weights, and softens less.
LSKD_WEIGHT, LSKD_TEMPERATURE = 9, 2
# Epochs over which DKD's loss rises in its released code.
DKD_WARMUP = 20
# These students are trained at a fifth of the rate.
GENTLE = ("mobilenetv2", "shufflenetv1", "shufflenetv2")
WIDTHS = {"mobilenetv2": 0.5}
MICRONET = "python:teacher:load"


@dataclass(frozen=True)
class Budget:
    """How much is trained.

    Attributes:
        label: Its description in the table.
        pairs: The pairs of the table.
        seeds: How many.
        training: The recipe's ``training``, for teachers and students.
        comparable: Whether the published numbers may be put beside it.
        cache: The recipe's ``teacher.cache``.
        train_limit: How many training images.
        test_limit: How many test images.
        lightweight: Settings of LW-KD's teacher.
    """

    label: str
    pairs: tuple[str, ...]
    seeds: int
    training: Mapping[str, Any]
    comparable: bool = False
    cache: str = "views"
    train_limit: int | None = None
    test_limit: int = 10_000
    lightweight: Mapping[str, Any] = field(default_factory=dict)


SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
SHORT = {"batch_size": 64, "optimizer": {**SGD, "lr": 0.1}, "schedule": "one_cycle", "drop_last": True}
BUDGETS = {
    "smoke": Budget(
        label="one epoch of 1,000 images: tries the script, means nothing about accuracy, not comparable with papers",
        pairs=("resnet56 -> resnet20",),
        seeds=1,
        training={**SHORT, "epochs": 1},
        cache="off",
        train_limit=1000,
        test_limit=500,
        lightweight={"per_class": 20, "epochs": 1},
    ),
    "cpu": Budget(
        label="20,000 of the 50,000 images, 30 of the 240 epochs, one-cycle: not comparable with the papers",
        pairs=("resnet56 -> resnet20", "resnet32x4 -> resnet8x4"),
        seeds=2,
        training={**SHORT, "epochs": 30, "evaluate_every": 10},
        train_limit=20_000,
    ),
    "paper": Budget(
        label="the papers' recipe: 240 epochs, batches of 64, SGD .05 (.01 for MobileNet and ShuffleNet)",
        pairs=tuple(PUBLISHED),
        seeds=3,
        training={
            "batch_size": 64,
            "epochs": 240,
            "optimizer": SGD,
            "schedule": {"name": "multi_step", "milestones": [150, 180, 210], "gamma": 0.1},
            "drop_last": True,
            "evaluate_every": 1,
            "checkpoint_every": 10,
        },
        comparable=True,
    ),
}


@dataclass(frozen=True)
class Row:
    """One run of the table.

    Attributes:
        pair: Teacher and student.
        method: The method's name.
        seed: The seed.
        recipe: What is run.
        folder: Where.
    """

    pair: str
    method: str
    seed: int
    recipe: Recipe
    folder: RunFolder


def training_of(budget: Budget, network: str, *, paper: bool) -> dict[str, Any]:
    """Return the training of a network: some are trained at a fifth of the rate."""
    training = dict(budget.training)
    if paper and network in GENTLE:
        training["optimizer"] = {**training["optimizer"], "lr": training["optimizer"]["lr"] / 5}
    return training


def teacher_of(budget: Budget, pair: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the recipe's ``teacher``."""
    name = pair.split(" -> ", maxsplit=1)[0]
    common = {"cache": args.cache or budget.cache, "lightweight": dict(budget.lightweight)}
    if args.teacher == "micronet":
        return {"name": MICRONET, **common}
    return {"name": name, "training": training_of(budget, name, paper=budget.comparable), **common}


def settings_of(pair: str, method: str, budget: Budget) -> dict[str, Any]:
    """Return a method's settings where they are not limbeck's defaults."""
    if method not in ("dkd", "lskd+dkd"):
        return SETTINGS.get(method, {})
    dkd = {"alpha": 1, "beta": BETAS.get(pair, 8), "warmup": DKD_WARMUP if budget.comparable else 0}
    if method == "dkd":
        return dkd
    return {
        "dkd": {**dkd, "temperature": LSKD_TEMPERATURE, **{key: LSKD_WEIGHT * dkd[key] for key in ("alpha", "beta")}}
    }


def recipe_of(pair: str, method: str, seed: int, root: Path, args: argparse.Namespace) -> Recipe:
    """Make the recipe of one run."""
    budget, student = BUDGETS[args.budget], pair.split(" -> ")[1]
    values = {
        "name": pair,
        "data": {"name": "cifar100", "root": str(root), "augment": {"crop": 4, "flip": True}},
        "teacher": teacher_of(budget, pair, args),
        "student": {"name": student, "options": {"width": WIDTHS[student]} if student in WIDTHS else {}},
        "method": {"name": without_label(method), **settings_of(pair, method, budget)},
        "training": training_of(budget, student, paper=budget.comparable),
        "output": {"cache": str(args.store / "cache")},
        "seed": seed,
    }
    overrides = {"data.train_limit": budget.train_limit, **parse_overrides(args.overrides)}
    # The one function that it names is the teacher of the shared data.
    return load_recipe(values, overrides, trust=True)


def plan(root: Path, args: argparse.Namespace) -> list[Row]:
    """List the runs; seeds outside, so that a table that is stopped early holds every method."""
    rows = []
    for seed in range(args.seeds or BUDGETS[args.budget].seeds):
        for pair in args.pairs or BUDGETS[args.budget].pairs:
            for method in args.methods:
                folder = RunFolder(args.out / pair.replace(" -> ", "-") / method / f"seed-{seed}")
                rows.append(Row(pair, method, seed, recipe_of(pair, method, seed, root, args), folder))
    return rows
