"""Make a run's data selection: train a scout where the score is a student's view, then score the training set."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from limbeck.build.networks import Feed, create_network
from limbeck.distiller import Distiller
from limbeck.distiller.selection import held_out
from limbeck.randomness.hashing import derived_seed
from limbeck.randomness.seeding import generators_kept, seed_everything
from limbeck.recipes.schema import Recipe
from limbeck.runs.resuming import usable_checkpoint
from limbeck.training import Engine, TrainingSettings, uses_channels_last


def chooser(
    recipe: Recipe, distiller: Distiller, feed: Feed, say: Callable[[str], None], checkpoint: Path
) -> Callable[[int], None]:
    """Return what an engine calls before each epoch: it selects before the first one, and when a refresh is due.

    Args:
        recipe: The recipe of the run.
        distiller: Its method has a selection; receives the mask.
        feed: The run's data.
        say: Told what was selected.
        checkpoint: Folder of the scout's checkpoint, with which a scout whose training was stopped goes on.

    Returns:
        A function of the epoch.
    """
    selection = distiller.method.selection
    assert selection is not None
    plain = feed.plain(feed.data.train)

    def before_epoch(epoch: int) -> None:
        due = selection.refresh_every is not None and epoch % selection.refresh_every == 0
        if epoch and not due:
            return
        scout = None
        if selection.needs_student and not epoch:
            with generators_kept():
                scout = _scout(recipe, feed, selection.scout_epochs, checkpoint, say)
        with feed.fabric.autocast():
            mask = distiller.select(plain.epoch(0), scout=scout)
        right = f"{int(mask.sum())} of {len(mask)} training samples listen to the teacher"
        say(f"selection by {selection.label}: {right}")

    return before_epoch


def _scout(recipe: Recipe, feed: Feed, epochs: int, checkpoint: Path, say: Callable[[str], None]) -> nn.Module:
    """Train a copy of the student plainly, without the slice that influence is measured on."""
    selection = recipe.method.create().selection
    assert selection is not None
    train, seed = feed.data.train, derived_seed(recipe.seed, 2) % 2**31
    positions = torch.arange(len(train))
    held = held_out(train.labels.cpu(), positions, selection.holdout, seed=recipe.seed)
    scout = create_network(recipe.student, feed.data, role="student", seed=seed)
    schedule = {"name": "one_cycle"}
    # A few epochs are not worth a compilation.
    plainly = {"ema": None, "compile": False, "cuda_graph": False}
    values = {**feed.training.model_dump(), "epochs": epochs, "schedule": schedule, **plainly}
    settings = TrainingSettings.model_validate(values)
    scouting = Feed(feed.data, feed.settings, settings, feed.fabric, seed)
    seed_everything(seed)
    distiller = Distiller(scout, method="none")
    if uses_channels_last(settings, feed.fabric.device.type):
        distiller.to(memory_format=torch.channels_last)
    views, resume = scouting.train(train.select(positions[~held])), usable_checkpoint(checkpoint, say)
    engine = Engine(
        distiller,
        views,
        settings,
        fabric=feed.fabric,
        splits={},
        num_classes=len(feed.data.classes),
        checkpoint=checkpoint,
        say=lambda line: say(f"scout: {line}"),
    )
    engine.fit(resume=resume)
    return scout
