"""One pass of a teacher, and of a brief student, over training and held-out samples: what a card is made from."""

import torch
from torch import Tensor, nn

from limbeck import methods
from limbeck.advice.brief_student import HeldOut
from limbeck.advice.card import Answers
from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.measured_teacher import training_positions, training_slice
from limbeck.build.networks import placed
from limbeck.build.proxies import first_half, trained_proxies
from limbeck.build.reporting import Reporting
from limbeck.build.teacher_scale import MEASURED_SAMPLES
from limbeck.data import Samples
from limbeck.data.batch import Batch
from limbeck.distiller.measuring import Proxies, teacher_rows
from limbeck.distiller.teacher_scale import TeacherScale
from limbeck.tasks import MAIN
from limbeck.teachers import Teacher
from limbeck.training import make_fabric

# Two views of so many samples are compared.
_VIEWED_SAMPLES = 500


class TeacherPass:
    """A teacher and a student on the device of the training.

    Args:
        context: The run.
        teacher: Its teacher.
        student: The brief student.
    """

    def __init__(self, context: Context, teacher: Teacher, student: nn.Module) -> None:
        recipe, self.context = context.recipe, context
        self.fabric = make_fabric(recipe.training)
        self.loaders = Loaders(context.data, recipe.data, recipe.training, self.fabric, recipe.seed)
        self.teacher = placed(teacher, recipe.training, self.fabric.device)
        self.student = placed(student, recipe.training, self.fabric.device)

    def answers(self, samples: Samples) -> Answers:
        """Return the logits of both on at most 2,000 samples of a split, without augmentation.

        Raises:
            UserError: If they have no rows.
            RunError: If a logit is nan or infinite.
        """
        split = training_slice(samples)
        views = self.loaders.unaugmented(split, batch_size=self.loaders.training.batch_size)
        # One student stands for both proxies of a measurement.
        pair = Proxies(self.student, self.student, torch.zeros(len(split), dtype=torch.bool))
        with self.fabric.autocast():
            rows = teacher_rows(self.context.task, self.student, self.teacher, views.epoch(0), pair)
        return Answers(rows.logits, rows.classes, rows.proxy_logits)

    @torch.no_grad()
    def agreement(self) -> float | None:
        """Return the share of training rows with the same prediction for an augmented view and the sample itself.

        None where nothing is augmented, and where a view moves the positions that rows stand for.
        """
        task, data, settings = self.context.task, self.context.data, self.context.recipe.data
        augment = data.augment(settings.augment)
        if task.by_parts or task.stores_maps or augment == data.augmentation():
            return None
        split = data.train.select(training_positions(len(data.train), _VIEWED_SAMPLES))
        size = min(self.loaders.training.batch_size, len(split))
        plain, varied = self.loaders.unaugmented(split, batch_size=size), self.loaders.in_order(split, batch_size=size)
        with self.fabric.autocast():
            pairs = zip(plain.epoch(0), varied.epoch(0), strict=True)
            same = [self._taken(one) == self._taken(other) for one, other in pairs]
        return float(torch.cat(same).double().mean())

    def _taken(self, batch: Batch) -> Tensor:
        rows = self.context.task.rows(self.teacher.unaugmented(batch), batch.targets)[MAIN]
        return rows.logits.argmax(dim=1)

    def reliability(self, reporting: Reporting) -> float:
        """Return the share of labels that the teacher explains better than two students of half of the data each.

        Raises:
            UserError: If the settings do not fit the data.
            RunError: If a training fails.
        """
        recipe, data = self.context.recipe, self.context.data
        proxies = [placed(p, recipe.training, self.fabric.device) for p in trained_proxies(self.context, reporting)]
        places = training_positions(len(data.train), MEASURED_SAMPLES)
        views = self.loaders.unaugmented(data.train.select(places), batch_size=recipe.training.batch_size).epoch(0)
        placed_at = places.to(self.fabric.device)
        batches = (batch._replace(indices=placed_at[batch.indices]) for batch in views)
        scale = TeacherScale(methods.create("weigh+kd"), self.student)
        both = Proxies(proxies[0], proxies[1], first_half(recipe, data))
        with self.fabric.autocast():
            return scale.measure(self.context.task, self.student, self.teacher, batches, both)["weigh.share"]


def sees(context: Context, part: HeldOut) -> bool:
    """Return whether the teacher learned from the held-out samples: it is trained by the recipe, on all of train."""
    trained = any(settings.training is not None for settings in context.teacher_settings.values())
    return part.is_cut and trained
