"""Make a run's data selection: train a proxy where the score is a student's view, then score the training set."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from limbeck.build.networks import Loaders, create_network
from limbeck.build.task import task_of
from limbeck.distiller import Distiller
from limbeck.distiller.selection import held_out
from limbeck.randomness.hashing import derived_seed
from limbeck.randomness.seeding import generators_kept, seed_everything
from limbeck.recipes.schema import Recipe
from limbeck.runs.resuming import usable_checkpoint
from limbeck.training import Engine, TrainingSettings, uses_channels_last


def selection_callback(
    recipe: Recipe, distiller: Distiller, loaders: Loaders, log: Callable[[str], None], checkpoint: Path
) -> Callable[[int], None]:
    """Return what an engine calls before each epoch: it selects before the first one, and when a refresh is due.

    Args:
        recipe: The recipe of the run.
        distiller: Its method has a selection; receives the mask.
        loaders: The run's data.
        log: Told what was selected.
        checkpoint: Folder of the proxy's checkpoint, with which a proxy whose training was stopped goes on.

    Returns:
        A function of the epoch.
    """
    selection = distiller.method.selection
    assert selection is not None
    unaugmented = loaders.unaugmented(loaders.data.train)

    def before_epoch(epoch: int) -> None:
        due = selection.refresh_every is not None and epoch % selection.refresh_every == 0
        if epoch and not due:
            return
        proxy = None
        if selection.needs_student and not epoch:
            with generators_kept():
                proxy = _train_proxy(recipe, loaders, selection.proxy_epochs, checkpoint, log)
        with loaders.fabric.autocast():
            mask = distiller.select(unaugmented.epoch(0), proxy=proxy)
        right = f"{int(mask.sum())} of {len(mask)} training samples listen to the teacher"
        log(f"selection by {selection.label}: {right}")

    return before_epoch


def _train_proxy(
    recipe: Recipe, loaders: Loaders, epochs: int, checkpoint: Path, log: Callable[[str], None]
) -> nn.Module:
    """Train a copy of the student plainly, without the slice that influence is measured on."""
    selection = recipe.method.create().selection
    assert selection is not None
    train, seed = loaders.data.train, derived_seed(recipe.seed, 2) % 2**31
    positions = torch.arange(len(train))
    held = held_out(train.labels.cpu(), positions, selection.holdout, seed=recipe.seed)
    proxy = create_network(recipe.student, loaders.data, role="student", seed=seed)
    schedule = {"name": "one_cycle"}
    # A few epochs are not worth a compilation.
    plainly = {"ema": None, "compile": False, "cuda_graph": False}
    values = {**loaders.training.model_dump(), "epochs": epochs, "schedule": schedule, **plainly}
    settings = TrainingSettings.model_validate(values)
    proxy_loaders = Loaders(loaders.data, loaders.settings, settings, loaders.fabric, seed)
    seed_everything(seed)
    distiller = Distiller(proxy, method="none", task=task_of(recipe, loaders.data))
    if uses_channels_last(settings, loaders.fabric.device.type):
        distiller.to(memory_format=torch.channels_last)
    views, resume = proxy_loaders.train(train.select(positions[~held])), usable_checkpoint(checkpoint, log)
    engine = Engine(
        distiller,
        views,
        settings,
        fabric=loaders.fabric,
        splits={},
        checkpoint=checkpoint,
        log=lambda line: log(f"proxy: {line}"),
    )
    engine.fit(resume=resume)
    return proxy
