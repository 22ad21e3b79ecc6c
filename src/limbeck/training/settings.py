"""The settings of a training: optimizer, schedule, precision and the like, as a recipe writes them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

from limbeck.errors import UserError
from limbeck.training.optimizer_names import check_optimizer
from limbeck.validation import Settings

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
# The batch size of ``auto``, until a number is found: a recipe of a run that has begun never has it.
AUTO_BATCH = 0


def _number_or_auto(value: Any, number: ValidatorFunctionWrapHandler) -> Any:
    return AUTO_BATCH if value == "auto" else number(value)


def _written(value: int) -> int | str:
    return "auto" if value == AUTO_BATCH else value


BatchSize = Annotated[Count, WrapValidator(_number_or_auto), PlainSerializer(_written)]
# Keys of a training's settings that leave its result as it is.
WITHOUT_EFFECT = frozenset(
    {
        *("evaluate_every", "checkpoint_every", "checkpoint_minutes", "checkpoint_steps", "check_finite"),
        *("cuda_graph", "devices", "nodes", "strategy"),
    }
)
# Those that earlier versions did not have: what was made without them keeps its key.
LATER = frozenset(
    {
        *("mix", "label_smoothing", "keep", "patience", "min_gain", "temperature_scaling"),
        *("accumulate", "batch_of", "sync_batchnorm"),
    }
)
# For trainings beside a run's own, which one process does.
ALONE: Mapping[str, Any] = {
    "devices": 1,
    "nodes": 1,
    "strategy": "auto",
    "batch_of": "process",
    "sync_batchnorm": False,
}
# For trainings beside a run's own that have no validation split, such as of a few epochs.
NOTHING_CHOSEN: Mapping[str, Any] = {"keep": "last", "patience": None, "min_gain": 0.0, "temperature_scaling": False}


def named(value: Any) -> Any:
    """Read a plain word where a group of settings is expected as its ``name``.

    Example:
        >>> named("sgd")
        {'name': 'sgd'}
    """
    return {"name": value} if isinstance(value, str) else value


class OptimizerSettings(Settings):
    """An optimizer of ``torch.optim`` by name; further keys are its arguments, such as ``momentum``.

    Example:
        >>> OptimizerSettings(name="sgd", lr=0.1, momentum=0.9).arguments
        {'momentum': 0.9}
    """

    model_config = ConfigDict(extra="allow")

    name: str = "sgd"
    lr: Positive = 0.1
    decay_norm_and_bias: bool = True

    @property
    def arguments(self) -> dict[str, Any]:
        """The optimizer's own arguments beside the learning rate."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _known(self) -> Self:
        check_optimizer(self.name, self.arguments)
        return self


class ScheduleSettings(Settings):
    """How the learning rate moves, stepped once a batch; ``power`` is that of ``poly``, (1 - step / steps) ** power.

    Example:
        >>> ScheduleSettings(name="multi_step", milestones=(150, 180, 210)).gamma
        0.1
    """

    name: Literal["constant", "multi_step", "cosine", "one_cycle", "linear", "poly"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    milestones: tuple[Positive, ...] = ()
    gamma: Positive = 0.1
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    pct_start: Annotated[float, Field(gt=0, lt=1)] = 0.3
    power: Positive = 0.9

    @model_serializer(mode="wrap")
    def _without_unused(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Left out, so that teachers trained with other schedules keep their keys.
        return {key: value for key, value in whole(self).items() if key != "power" or self.name == "poly"}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name == "multi_step" and not self.milestones:
            raise UserError("milestones: missing, expected the epochs at which the rate drops, such as [150, 180, 210]")
        if self.name != "multi_step" and self.milestones:
            raise UserError(f"milestones: got {list(self.milestones)}, expected them with name multi_step only")
        if self.name != "poly" and self.power != type(self).model_fields["power"].default:
            raise UserError(f"power: got {self.power:g}, expected it with name poly only")
        if self.name == "one_cycle" and self.warmup_epochs:
            raise UserError("warmup_epochs: got a number above 0, expected 0 with one_cycle, which warms up itself")
        return self


class MixSettings(Settings):
    """Mixup and CutMix: every sample of a batch is mixed with another one of it, inputs and labels alike.

    ``mixup`` and ``cutmix`` are the parameters of the Beta distributions from which the shares are drawn, 0 for none;
    of both, ``switch`` is the share of batches that CutMix takes. ``probability`` is the share of batches that are
    mixed at all. See :class:`limbeck.training.mixing.Mixer`.

    Example:
        >>> MixSettings(mixup=0.2).mixes, MixSettings().mixes
        (True, False)
    """

    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    switch: Annotated[float, Field(ge=0, le=1)] = 0.5

    @property
    def mixes(self) -> bool:
        """Whether anything is mixed."""
        return bool(self.mixup or self.cutmix)


class TrainingSettings(Settings):
    """Everything about a training but its data, networks and method.

    A run stops at the step whose loss, gradient or teacher's logits are nan or inf. On a GPU that is read a few steps
    later, and of steps that ``cuda_graph`` records at the end of the epoch; with ``check_finite`` it is read at every
    step, before the weights are changed, for the student's logits too, and names the layer of a gradient, but waits for
    the device. ``batch_size: auto`` is the largest power of two that the memory holds, see
    :func:`limbeck.build.batch_size.find_batch_size`. ``compile`` runs the student through ``torch.compile``,
    and ``cuda_graph`` records an epoch's step once and replays it; where either is impossible, one line is logged.

    A checkpoint is written after every ``checkpoint_every``-th epoch, and within an epoch when the last one is
    ``checkpoint_minutes`` old, and after every ``checkpoint_steps``-th update of the training; none of them changes a
    number.

    ``mix`` mixes the samples of a batch, and ``label_smoothing`` is the least that the cross-entropy smooths labels by,
    whatever the method.

    ``keep``, ``patience`` and ``min_gain`` choose by the primary metric on the validation split: ``keep: best`` keeps
    the network of the best epoch that was measured, the earliest of equal ones; ``patience`` ends the training after
    so many evaluations in a row that are not better by more than ``min_gain`` (in the metric's own unit: .01 is a
    point of accuracy). The learning rate follows the schedule of all ``epochs`` even so. ``temperature_scaling`` fits
    one temperature of the student's logits on the validation split after the training; see
    :func:`limbeck.training.fit_temperature`.

    ``devices``, ``nodes`` and ``strategy`` are how many processes train the student together, one a device, and how:
    ``ddp`` copies it to each, ``fsdp`` divides it between them. A batch is ``batch_size`` samples in each process, or
    with ``batch_of: global`` in all of them together; ``accumulate`` batches make one update. ``sync_batchnorm``
    computes the statistics of batch norms over all processes. The learning rate stays as it is.

    With ``precision`` and ``channels_last`` at ``auto``, they follow device and network; see
    :func:`limbeck.training.decide`. What is given holds for a live teacher too, unless it has a precision of its own.

    Example:
        >>> TrainingSettings(epochs=3).optimizer.name
        'sgd'
    """

    epochs: Count = 30
    batch_size: BatchSize = 64
    optimizer: OptimizerSettings = OptimizerSettings(momentum=0.9, weight_decay=5e-4)
    schedule: ScheduleSettings = ScheduleSettings()
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: Literal["auto"] | bool = "auto"
    clip_norm: Positive | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    mix: MixSettings = MixSettings()
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    evaluate_every: Count = 1
    checkpoint_every: Count = 1
    checkpoint_minutes: Positive | None = 10.0
    checkpoint_steps: Count | None = None
    keep: Literal["last", "best"] = "last"
    patience: Count | None = None
    min_gain: Annotated[float, Field(ge=0)] = 0.0
    temperature_scaling: bool = False
    drop_last: bool = False
    check_finite: bool = False
    compile: bool = False
    cuda_graph: bool = False
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: Count | Literal["auto"] = 1
    nodes: Count = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    batch_of: Literal["process", "global"] = "process"
    accumulate: Count = 1
    sync_batchnorm: bool = False

    @property
    def unset_later(self) -> frozenset[str]:
        """Which of the settings that earlier versions did not have are at their defaults."""
        return frozenset(key for key in LATER if getattr(self, key) == type(self).model_fields[key].default)

    @property
    def chooses(self) -> bool:
        """Whether an epoch is chosen by the validation split: the one that is kept, or the last one."""
        return self.keep == "best" or self.patience is not None

    @property
    def without_effect(self) -> frozenset[str]:
        """Which of the settings leave the result as it is; which epochs are measured counts where one is chosen.

        Example:
            >>> "evaluate_every" in TrainingSettings(keep="best").without_effect
            False
        """
        return WITHOUT_EFFECT - {"evaluate_every"} if self.chooses else WITHOUT_EFFECT

    @model_validator(mode="before")
    @classmethod
    def _words(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {key: named(v) if key in ("optimizer", "schedule") else v for key, v in values.items()}
        return values

    @model_validator(mode="after")
    def _milestones_within(self) -> Self:
        schedule, epochs = self.schedule, self.epochs
        for milestone in schedule.milestones:
            if milestone >= epochs:
                raise UserError(f"schedule.milestones: got {milestone:g}, expected epochs before the end at {epochs}")
            if milestone <= schedule.warmup_epochs:
                raise UserError(f"schedule.milestones: got {milestone:g}, expected epochs after the warm-up")
        if schedule.min_lr > self.optimizer.lr:
            raise UserError(f"schedule.min_lr: got {schedule.min_lr:g}, expected at most lr {self.optimizer.lr:g}")
        if schedule.warmup_epochs >= epochs:
            got = f"{schedule.warmup_epochs:g}"
            raise UserError(f"schedule.warmup_epochs: got {got}, expected fewer than the {epochs} epochs")
        return self

    @model_validator(mode="after")
    def _gain_of_patience(self) -> Self:
        if self.min_gain and self.patience is None:
            expected = "expected it beside patience, the evaluations without such a gain"
            raise UserError(f"min_gain: got {self.min_gain:g} without patience, {expected}")
        return self
