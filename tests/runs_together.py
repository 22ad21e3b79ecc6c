"""Runs a list of recipes in the processes that torchrun has started, or in this one alone."""

import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed as dist

import limbeck
from limbeck.losses.features import CRDLoss


def drawn(loss, indices):
    """Negatives that depend on the image alone, in place of draws that differ between processes."""
    return (indices[:, None] + 1 + 3 * torch.arange(loss.negatives)) % loss.samples


def main(jobs, folder):
    torch.set_num_threads(1)
    draw, CRDLoss.draw = CRDLoss.draw, drawn
    try:
        for name, recipe in json.loads(Path(jobs).read_text()).items():
            out, first = Path(folder) / name, recipe.pop("first_epochs", None)
            if first is not None and "RANK" in os.environ:
                limbeck.run(recipe, overrides={"training.epochs": first}, out=out, trust=True)
            limbeck.run(recipe, out=out, resume=first is not None, trust=True)
    finally:
        CRDLoss.draw = draw
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
