"""``training.batch_size: auto``: the largest power of two that the memory holds."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from limbeck import methods, ranks
from limbeck.build.checks import check_run
from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.features import feature_arguments
from limbeck.build.networks import placed
from limbeck.build.teachers import live_teacher
from limbeck.build.trial import FixedBatches
from limbeck.distiller import Distiller
from limbeck.errors import RunError, UserError
from limbeck.methods import Method
from limbeck.randomness.seeding import generators_kept
from limbeck.recipes.schema import Recipe
from limbeck.reporting import Log
from limbeck.teachers import EnsembleTeacher, Teacher
from limbeck.training import Engine, ScheduleSettings, decide, make_fabric
from limbeck.training.memory import free_memory, is_out_of_memory
from limbeck.training.settings import AUTO_BATCH, NOTHING_CHOSEN

# Batch normalization needs two samples.
_SMALLEST = 2
# At least so many steps an epoch, and no larger batches than these, whatever the memory holds.
_STEPS = 16
_LARGEST = {"cpu": 512, "cuda": 4096}
_OF_GPU, _OF_MACHINE = 0.9, 0.5


def largest_batch(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest power of two that fits, of those from 2 to ``most``; 0 if none does.

    Args:
        fits: Tries a batch size. It is called with growing ones, and no more after the first that does not fit.
        most: The largest that is tried.

    Example:
        >>> largest_batch(lambda size: size <= 100, 512), largest_batch(lambda size: True, 100)
        (64, 64)
        >>> largest_batch(lambda size: False, 100)
        0
    """
    found, size = 0, _SMALLEST
    while size <= most and fits(size):
        found, size = size, 2 * size
    return found


def with_batch_size(recipe: Recipe, size: int) -> Recipe:
    """Return a recipe with a number as its training's batch size.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> with_batch_size(load_recipe("quickstart"), 32).training.batch_size
        32
    """
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"batch_size": size})})


def is_auto(recipe: Recipe) -> bool:
    """Return whether a recipe's batch size is to be found.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> is_auto(load_recipe("quickstart")), is_auto(load_recipe("quickstart", {"training.batch_size": "auto"}))
        (False, True)
    """
    return recipe.training.batch_size == AUTO_BATCH


def find_batch_size(contexts: Sequence[Context], log: Log, *, share: float = 1.0) -> int:
    """Find the batch size of runs that differ in their method alone, by steps of student and teacher.

    Powers of two are tried, each with a step of every method: on a GPU until the memory is full or nine tenths of it
    are taken, on a CPU until what a step keeps for its backward would take half of the free memory. It is at most a
    sixteenth of the training set, and 4,096 on a GPU, 512 on a CPU. Methods that select samples or measure their
    teacher are tried as ``kd``, whose networks are the same.

    Args:
        contexts: The runs, with ``auto``; nothing in them is changed.
        log: Called with one line.
        share: The share of the machine's free memory that a run has.

    Raises:
        UserError: If a run is refused with any batch size, or several processes train together.
        RunError: If a batch of two samples does not fit.
    """
    if ranks.processes_to_meet() > 1:
        raise UserError("training.batch_size: got auto, expected a number where several processes train together")
    first = contexts[0]
    samples = len(first.data.train)
    device = make_fabric(first.recipe.training).device
    most = min(_LARGEST.get(device.type, _LARGEST["cpu"]), max(_SMALLEST, samples // _STEPS))
    smallest = [
        Context(with_batch_size(context.recipe, min(_SMALLEST, samples)), context.shared) for context in contexts
    ]
    trials = [_Trial(context, share) for context in smallest]
    with generators_kept():
        size = largest_batch(lambda size: all(trial.fits(size) for trial in trials), most) if _fit(smallest) else 0
    if not size:
        raise RunError(f"training.batch_size: the memory does not hold a step of {_SMALLEST} {first.data.unit}")
    why = "the largest that fits" if 2 * size <= most else f"of at most {most} for {samples:,} {first.data.unit}"
    rate = f"training.optimizer.lr stays {first.recipe.training.optimizer.lr:g}"
    log(f"training.batch_size: auto is {size}, {why}; {rate}")
    return size


def _fit(contexts: Sequence[Context]) -> bool:
    """Check runs, and return whether the memory holds their networks with a few samples."""
    try:
        for context in contexts:
            check_run(context, context.student().module)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


class _Trial:
    """Tries the batches of one run, each at least twice as large as the one before."""

    def __init__(self, context: Context, share: float) -> None:
        self._context, self._share, self._before = context, share, 0.0

    def fits(self, size: int) -> bool:
        # A machine that runs out of memory ends processes, so what would take too much is not tried there.
        if 2 * self._before > self._share:
            return False
        try:
            share = _step(self._context, size)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            free_memory()
        self._before = share if make_fabric(self._context.recipe.training).device.type == "cpu" else 0.0
        return share <= self._share


def _step(context: Context, size: int) -> float:
    """Train for a step or two, and return which share that took of the memory that it may take."""
    recipe, student = context.recipe, context.student().module
    simple = {**NOTHING_CHOSEN, "compile": False, "cuda_graph": False, "schedule": ScheduleSettings(name="constant")}
    chosen = decide(recipe.training, student, context.data.example(2))
    chosen = chosen.model_copy(update={**simple, "batch_size": size})
    fabric = make_fabric(chosen)
    alone = recipe.data.model_copy(update={"workers": 0})
    views = Loaders(context.data, alone, chosen, fabric, recipe.seed).for_student()
    distiller = placed(_distiller(context, student), chosen, fabric.device)
    batches = list(islice(views.epoch(0), 1))
    # An optimizer makes its state in the first step, which a GPU's memory holds besides those of the second.
    steps = 2 if fabric.device.type == "cuda" else 1
    engine = Engine(distiller, FixedBatches(batches * steps), chosen, fabric=fabric, splits={})
    with _taken(fabric) as shares:
        engine.train_epoch(0).means()
    return shares[0]


def _distiller(context: Context, student: torch.nn.Module) -> Distiller:
    method, teacher = context.method, _teacher(context)
    needs_more = method.selection is not None or any(
        part is not None and part.needs_measuring for part in (method.taming, method.weighing)
    )
    if teacher is None or needs_more:
        method = methods.create("none" if teacher is None else "kd")
    return _made(context, student, teacher, method)


def _made(context: Context, student: torch.nn.Module, teacher: Teacher | None, method: Method) -> Distiller:
    recipe = context.recipe
    arguments, epochs = feature_arguments(recipe, context.data), recipe.training.epochs
    return Distiller(student, teacher, method, task=context.task, seed=recipe.seed, epochs=epochs, **arguments)


def _teacher(context: Context) -> Teacher | None:
    """Return the networks of a run's teacher before their training; None where its logits are made from labels."""
    if context.source not in ("live", "self"):
        return None
    teachers = []
    for key, settings in context.teacher_settings.items():
        network = copy.deepcopy(context.teacher_network(key).module)
        teachers.append(live_teacher(context, key, settings, network))
    return teachers[0] if len(teachers) == 1 else EnsembleTeacher(teachers)


@contextmanager
def _taken(fabric: Fabric) -> Iterator[list[float]]:
    """Yield a list that has, after the block, the share that it took of the memory that it may take."""
    shares: list[float] = []
    if fabric.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(fabric.device)
        yield shares
        total = torch.cuda.get_device_properties(fabric.device).total_memory
        shares.append(torch.cuda.max_memory_reserved(fabric.device) / (_OF_GPU * total))
        return
    with kept_for_backward() as sizes:
        yield shares
    # Gradients and what the forward pass needs beside are of the same order.
    shares.append(sum(sizes.values()) / (_OF_MACHINE * free_bytes()))


@contextmanager
def kept_for_backward() -> Iterator[dict[int, int]]:
    """Yield the bytes of the storages that the block keeps for a backward, by their addresses.

    Example:
        >>> weight = torch.zeros(10, requires_grad=True)
        >>> with kept_for_backward() as sizes:
        ...     loss = weight.exp().sum()
        >>> sum(sizes.values())
        40
    """
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        yield sizes


def free_bytes() -> float:
    """Return how many bytes of the machine's memory programs can have; infinite where that is not known.

    Example:
        >>> free_bytes() > 1e6
        True
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
        limit = Path("/sys/fs/cgroup/memory.max")
        bound = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
        used = Path("/sys/fs/cgroup/memory.current")
        left = float("inf") if bound == "max" else int(bound) - int(used.read_text(encoding="ascii"))
        return min(1024.0 * int(kilobytes), left)
    except (OSError, ValueError, StopIteration):
        return float("inf")
