"""The groups ``student`` and ``teacher`` of a recipe: networks, their weights, and where teacher logits come from."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from limbeck.errors import UserError, shortened
from limbeck.recipes.class_columns import ColumnsByClass
from limbeck.recipes.data_settings import Normalize
from limbeck.recipes.fields import DeviceName, LayerNames, LayersByName, Seed, Side, UserPath, off_for_false
from limbeck.training import TrainingSettings
from limbeck.training.settings import AUTO_BATCH, Count, Positive, named
from limbeck.validation import Settings


class NetworkSettings(Settings):
    """A network by name, its own options, where its weights come from, and which of its layers are frozen.

    ``weights`` is a file, or the name of weights of timm or torchvision (``DEFAULT``): the head is new where the
    number of classes differs. ``weights_entry`` is the key of the weights within the file, such as ``model_ema``.
    ``freeze`` names the layers that are not trained, see :func:`limbeck.models.freeze`.

    Example:
        >>> NetworkSettings(name="resnet8", freeze="conv1").freeze
        ('conv1',)
    """

    name: str | None = None
    weights: UserPath | None = None
    weights_entry: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    freeze: LayersByName = ()

    @model_validator(mode="after")
    def _entry_of_a_file(self) -> Self:
        if self.weights is None and self.weights_entry is not None:
            got = f"weights_entry: got {shortened(self.weights_entry)} without weights"
            raise UserError(f"{got}, expected the file that holds it")
        return self


class ModelSettings(NetworkSettings):
    """The student: a network, and its layers for methods that compare features.

    Example:
        >>> ModelSettings(name="resnet8", options={"width": 0.5}).weights is None
        True
    """

    name: str
    layers: LayerNames | None = None


class LightweightSettings(Settings):
    """The lightweight teacher of LW-KD: its synthetic set and its training.

    Example:
        >>> LightweightSettings().source
        'sklearn'
    """

    per_class: Count | None = None
    epochs: Count | None = None
    class_mean: bool = False
    source: str = "sklearn"


class NetworkTeacherSettings(NetworkSettings):
    """A network as the teacher: its weights, how to train it, or both, and the inputs that it was trained with.

    With ``training`` beside ``weights`` these are where it begins, as for a student: the head is new where the number
    of classes differs, and the layers that ``freeze`` names are not trained. ``precision`` is that of its forward pass:
    with ``auto`` that of ``training.precision``, if that is given, else the fastest on the device.

    ``classes`` makes a network that was trained on other classes teach those of the data: the column of its logits, or
    several, that each class is, see :class:`limbeck.teachers.ClassColumns`. ``outputs`` is how many columns it has: by
    default as many as its weights record, else the 1,000 of ImageNet. ``device`` is where it stays, such as ``cuda:1``
    or ``cpu``; by default it is where the student is.

    Example:
        >>> NetworkTeacherSettings(name="resnet56").seed
        0
        >>> NetworkTeacherSettings(name="timm:resnet18", weights="DEFAULT", classes={"tench": 0}).classes
        {'tench': 0}
    """

    training: TrainingSettings | None = None
    train_limit: Count | None = None
    seed: Seed = 0
    normalize: Normalize | None = None
    size: Side | None = None
    classes: ColumnsByClass = None
    outputs: Count | None = None
    train_mode: bool = False
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: DeviceName = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.freeze and self.training is None:
            raise UserError("freeze: got layers without training, expected them beside the teacher's training")
        if self.name is None and (self.weights is not None or self.training is not None):
            raise UserError("name: missing, expected the teacher network's name")
        if self.training is not None and (self.normalize is not None or self.size is not None):
            raise UserError("normalize and size: are for teachers trained elsewhere, expected neither beside training")
        if self.training is not None and self.classes is not None:
            raise UserError("classes: are for teachers trained on other classes, expected none beside training")
        if self.training is not None and self.training.batch_size == AUTO_BATCH:
            raise UserError("training.batch_size: got auto, expected a number: it is found for the student alone")
        if self.training is not None and self.training.temperature_scaling:
            got = "training.temperature_scaling: got true, but a teacher's logits are used as they are"
            raise UserError(f"{got}, expected it as training.temperature_scaling, of the student")
        if self.outputs is not None and self.classes is None:
            raise UserError(f"outputs: got {self.outputs} without classes, expected the column of each class")
        return self


class TeacherSettings(NetworkTeacherSettings):
    """Where the teacher's logits come from.

    ``source: auto`` is the kind that the method needs, and a live network for methods that accept any. Several networks
    as one teacher stand under ``members``, and their logits are averaged by ``average``, see
    :class:`limbeck.teachers.EnsembleTeacher`. ``layers`` are those that methods which compare features use. ``cache``
    stores a live or self-teacher's logits of each view of the training images, or of each image in each epoch, for this
    run and all later ones; see :class:`limbeck.cache.CachedTeacher`.

    Example:
        >>> TeacherSettings(name="resnet56").source
        'auto'
    """

    source: Literal["auto", "live", "self", "lightweight"] = "auto"
    members: tuple[NetworkTeacherSettings, ...] = ()
    average: Literal["logits", "probabilities", "confidence"] = "logits"
    lightweight: LightweightSettings = LightweightSettings()
    layers: LayerNames | None = None
    cache: Literal["off", "views", "epochs"] = "off"
    cache_dtype: Literal["float16", "float32"] = "float16"
    cache_top_k: Count | None = None
    cache_limit_gb: Positive = 20.0

    _yaml_off = field_validator("cache", mode="before")(off_for_false)

    @field_validator("members", mode="before")
    @classmethod
    def _names_as_members(cls, value: Any) -> Any:
        return [named(member) for member in value] if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        # The seed is that of a self-teacher and a lightweight teacher too, which a comparison may hold beside these.
        blank, fields = NetworkTeacherSettings(seed=self.seed), NetworkTeacherSettings.model_fields
        keys = [key for key in fields if getattr(self, key) != getattr(blank, key)]
        if self.members and keys:
            raise UserError(f"members: got them beside teacher.{keys[0]}, expected it within each of the members")
        if self.average != "logits" and not self.members:
            raise UserError(f"average: got {self.average!r} without members, expected teachers to average")
        if any(member in self.members[:number] for number, member in enumerate(self.members)):
            raise UserError("members: two are the same, expected another network, seed or file for each")
        return self
