"""The lightweight teacher of a recipe: a bank trained once on synthetic digits, and the teacher that draws from it."""

import warnings
from pathlib import Path

from safetensors import SafetensorError

from limbeck.build.context import Context
from limbeck.build.reporting import Reporting
from limbeck.build.task import row_classes
from limbeck.build.teacher_store import cache_folder, made_once
from limbeck.build.teacher_training import FORMAT
from limbeck.cache.key import digest_of
from limbeck.errors import RunError
from limbeck.files import replacing
from limbeck.teachers import LightweightBank, LightweightTeacher, train_lightweight
from limbeck.teachers.digits import source_digest
from limbeck.teachers.lightweight import GOOD_ACCURACY


def lightweight_teacher(context: Context, reporting: Reporting) -> tuple[LightweightTeacher, str]:
    """Make a run's lightweight teacher from the bank that all runs of the process share.

    Args:
        context: The run.
        reporting: Called with a line if the bank is trained now.

    Returns:
        The teacher, which depends on the run's seed, and a line about the bank.

    Raises:
        UserError: If the synthetic set cannot be made, or the cache cannot be written.
    """
    bank = context.shared.once(("bank", context.teacher_key), lambda: _bank(context, reporting))
    teacher = LightweightTeacher(
        bank, seed=context.recipe.seed, class_mean=context.recipe.teacher.lightweight.class_mean
    )
    about = f"lightweight teacher: {bank.accuracy:.2%} of held-out synthetic samples right"
    if bank.accuracy < GOOD_ACCURACY:
        about += f", below {GOOD_ACCURACY:.0%}: expect it to cost the student accuracy"
    return teacher, about


def _bank(context: Context, reporting: Reporting) -> LightweightBank:
    recipe, classes = context.recipe, row_classes(context.task, context.data)
    settings, seed = recipe.teacher.lightweight, recipe.teacher.seed
    arguments = settings.model_dump(exclude={"class_mean"})
    material = {**arguments, "source": source_digest(settings.source)}
    key = digest_of({"format": FORMAT, "classes": classes, "seed": seed, **material})
    folder = cache_folder(recipe.output.cache) / "lightweight" / key

    def train(path: Path) -> None:
        reporting.log(f"training a lightweight teacher on synthetic digits, {classes} classes")
        with warnings.catch_warnings():
            # The line about the bank warns of a weak one, also in runs that take it from the store.
            warnings.simplefilter("ignore", UserWarning)
            bank = train_lightweight(classes, seed=seed, **arguments)
        file = path / "bank.safetensors"
        with replacing(file) as partial:
            try:
                bank.save(partial)
            except SafetensorError as error:
                raise RunError(f"{file}: cannot be written ({str(error)[:200]})") from error

    return LightweightBank.load(made_once(folder, train, reporting.log) / "bank.safetensors")
