"""Make a run's data selection: train a proxy where the scores come from a student, then score the training set."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from limbeck.build.data import Loaders
from limbeck.build.networks import create_network, placed
from limbeck.build.task import task_of
from limbeck.data.split import strata
from limbeck.distiller import Distiller
from limbeck.distiller.selection import held_out
from limbeck.randomness.hashing import derived_seed
from limbeck.randomness.seeding import generators_kept, seed_everything
from limbeck.ranks import shared_tensor
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.selection import Selection
from limbeck.training import Engine, TrainingSettings
from limbeck.training.checkpoint import usable_checkpoint
from limbeck.training.settings import NOTHING_CHOSEN


def selection_callback(
    recipe: Recipe, distiller: Distiller, loaders: Loaders, log: Log, checkpoint: Path
) -> Callable[[int], None]:
    """Return what an engine calls before each epoch: it selects before the first one, and when a refresh is due.

    Args:
        recipe: The recipe of the run.
        distiller: Its method has a selection; receives the mask.
        loaders: The run's data.
        log: Called with a line about each selection.
        checkpoint: Folder of the proxy's checkpoint, from which a stopped training of a proxy is resumed.

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
                proxy = _train_proxy(recipe, selection, loaders, checkpoint, log)
        with loaders.fabric.autocast():
            distiller.selected = mask = shared_tensor(distiller.select(unaugmented.epoch(0), proxy=proxy))
        if loaders.data.unlabeled is not None:
            # Behind the labeled samples stand those that the teacher alone supervises.
            distiller.selected = torch.cat([mask, mask.new_ones(len(loaders.data.unlabeled))])
        supervised = f"{int(mask.sum())} of {len(mask)} training samples are supervised by the teacher"
        log(f"selection by {selection.label}: {supervised}")

    return before_epoch


def _train_proxy(recipe: Recipe, selection: Selection, loaders: Loaders, checkpoint: Path, log: Log) -> nn.Module:
    """Train another student with the labels alone, without the slice that influence is measured on."""
    loaders = loaders.alone()
    train, seed = loaders.data.train, derived_seed(recipe.seed, 2) % 2**31
    positions = torch.arange(len(train))
    holdout = held_out(strata(train.labels.cpu()), positions, selection.holdout, seed=recipe.seed)
    proxy = create_network(recipe.student, loaders.data, role="student", seed=seed).module
    schedule = {"name": "one_cycle"}
    # A few epochs are not worth a compilation.
    without = {**NOTHING_CHOSEN, "ema": None, "compile": False, "cuda_graph": False}
    values = {**loaders.training.model_dump(), "epochs": selection.proxy_epochs, "schedule": schedule, **without}
    settings = TrainingSettings.model_validate(values)
    proxy_loaders = Loaders(loaders.data, loaders.settings, settings, loaders.fabric, seed)
    seed_everything(seed)
    distiller = Distiller(proxy, method="none", task=task_of(recipe, loaders.data), seed=seed)
    placed(distiller, settings, loaders.fabric.device)
    views, resume = proxy_loaders.train(train.select(positions[~holdout])), usable_checkpoint(checkpoint, log)
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
