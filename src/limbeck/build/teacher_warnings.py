"""Warnings that follow from a teacher's figures before the first student is trained, with what to do about each."""

import math

from torch import Tensor

from limbeck.build.weights import recorded_normalize
from limbeck.data import Data
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.recipes.schema import Recipe
from limbeck.training import Measured

# A student learns targets of this confidence, and is rarely right more often than its teacher on other images: the gap
# between the two is about what its own confidence is too high by.
CERTAIN, CERTAIN_BEYOND = 0.97, 0.05
# A teacher surer than it is right on the images that it teaches is wrong about some of them without a doubt.
WRONG_BEYOND = 0.1
# One whose logits are small is unsure of what it has right, and nearly uniform at T = 4.
UNSURE_BEYOND = 0.3


def percent(share: float) -> str:
    """Write a share as a percentage.

    Example:
        >>> percent(0.72345)
        '72.34 %'
    """
    return f"{100 * share:.2f} %"


def teacher_warnings(recipe: Recipe, data: Data, splits: dict[str, Measured]) -> tuple[str, ...]:
    """Warn of a teacher near chance, and of one whose confidence is far from its accuracy.

    Args:
        recipe: The run's recipe.
        data: Its data.
        splits: The teacher's figures on ``"train"`` and on ``"validation"`` or ``"test"``.

    Returns:
        A line for each problem that the task's metrics show.
    """
    name = "test" if data.validation is None else "validation"
    split = data.test if data.validation is None else data.validation
    train, held_out = splits["train"], splits[name]
    if any(math.isnan(value) for measured in (train, held_out) for value in measured.numbers().values()):
        return (f"the teacher's logits are nan or inf on some {data.unit}; {_advice(recipe, data)}",)
    if "accuracy" not in held_out.values or split.labels.ndim != 1:
        return ()
    chance = chance_accuracy(split.labels, len(data.classes))
    if held_out.accuracy < chance_bound(chance, len(split)):
        right = f"right on {percent(held_out.accuracy)} of the {name} {data.unit}"
        figures = f"{right}, one class for all would be on {percent(chance)}"
        return (f"the teacher is near chance ({figures}); {_advice(recipe, data)}",)
    if "confidence" not in train.values:
        return ()
    return _of_confidence(train, data.unit, held_out.accuracy, f"the {name} {data.unit}")


def _of_confidence(train: Measured, unit: str, held_out: float, others: str) -> tuple[str, ...]:
    confidence, right = train.values["confidence"], train.accuracy
    images = f"the student's training {unit}"
    figures = f"mean confidence {percent(confidence)}, right on {percent(right)}"
    if confidence - right >= WRONG_BEYOND:
        return (f"the teacher is surer than right on {images} ({figures}); {_WRONG}",)
    if right - confidence >= UNSURE_BEYOND:
        return (f"the teacher is less sure than right on {images} ({figures}); {_UNSURE}",)
    if confidence >= CERTAIN and confidence - held_out >= CERTAIN_BEYOND:
        certain = f"certain of {images} (mean confidence {percent(confidence)})"
        return (f"the teacher is {certain} but right on {percent(held_out)} of {others}; {_OVERCONFIDENT}",)
    return ()


# Fashion-MNIST, 3,000 images, a teacher certain of 99.7 % and right on 85.7 %: students had an ECE of 1.9 % alone and
# of 8.3 % with kd and dist, which dividing by a temperature fitted on 1,000 images lowered to 1.4 and 1.8 %. The
# method's own temperature is no cure: kd at T = 2 and 10 had 7.3 and 7.4 %, at T = 1 1.9 % without a gain in accuracy.
_OVERCONFIDENT = (
    "its students tend to be overconfident: compare their ECE with that of none, and divide a trained student's logits"
    " by one temperature, fitted on a validation share (data.validation)"
)


# Fashion-MNIST, 1,000 images, a teacher that exchanges three classes (mean confidence 90 %, right on 65 %): kd 59.4 %,
# kd with weight: auto 81.3, lr 83.1, lr_ds 82.5, without a teacher 82.1 (docs/claims.md).
_WRONG = "revise its labels (lr, lr_ds), or let it count by its measured reliability (method.weight: auto)"


# CIFAR-100, 10,000 images, 10 epochs, a teacher of mean confidence 56 %, right on 98 %: its mean largest probability at
# T = 4 is 3.4 %; none 25.9 %, kd 14.7, kd with its logits divided by .42 20.5, one seed (docs/claims.md).
_UNSURE = (
    "at a temperature such as 4 it is nearly uniform: compare method.temperature 1, and tame in front of the method,"
    " with sharpen: true and max_confidence near its accuracy"
)


def chance_accuracy(labels: Tensor, classes: int) -> float:
    """Return the accuracy of the best constant prediction: one class for all images.

    Args:
        labels: (N,) true classes.
        classes: Number of classes C; with few labels of many classes it counts as at least 1/C.

    Example:
        >>> import torch
        >>> chance_accuracy(torch.tensor([0, 1, 1, 2]), 3)
        0.5
    """
    return max(1 / classes, float(labels.bincount().max()) / len(labels))


def chance_bound(chance: float, images: int) -> float:
    """Return the accuracy below which a teacher is near chance.

    It is 3 standard errors above chance, and at least 2.5 times chance where there are many classes, since an untrained
    network's few output patterns are no uniform guesses: of 20 untrained resnet8 the best was right on 20 % of 1,000
    images of 10 classes. With few classes it is a quarter of the way from chance to 1.

    Args:
        chance: The accuracy of one class for all.
        images: How many images were measured.

    Example:
        >>> [round(chance_bound(1 / classes, 10_000), 3) for classes in (2, 10, 100)]
        [0.625, 0.235, 0.025]
    """
    error = 3 * math.sqrt(chance * (1 - chance) / images)
    return chance + max(error, (1 - chance) * min(0.25, 1.5 * chance))


def _advice(recipe: Recipe, data: Data) -> str:
    if recipe.source() == "self":
        return "train it for longer or with another learning rate (training)"
    networks: tuple[NetworkTeacherSettings, ...] = recipe.teacher.members or (recipe.teacher,)
    key = "teacher.members" if recipe.teacher.members else "teacher"
    loaded = [network for network in networks if network.training is None]
    if not loaded:
        return f"train it for longer or with another learning rate ({key}.training)"
    mapped = all(network.classes is not None for network in loaded)
    order = f"{key}.classes" if mapped else "the order of its classes"
    advice = f"check its weights, {order}, {key}.normalize and {key}.size"
    if any(network.normalize is None and recorded_normalize(network, data) is None for network in loaded):
        advice += f"; without {key}.normalize its inputs are normalized as the student's, {_normalization(data)}"
    return advice


def _normalization(data: Data) -> str:
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (data.mean, data.std))
    return f"with mean {mean} and std {std}"
