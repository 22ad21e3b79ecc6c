"""A recipe: the whole of a run, as validated settings."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from limbeck import methods
from limbeck.errors import UserError, shortened
from limbeck.imports import python_names
from limbeck.training import TrainingSettings
from limbeck.training.settings import Count, Positive, named
from limbeck.validation import Settings, validated

# Method, seed and what marks a temporary file stand in the same name, of which most file systems take 255 bytes.
_LONGEST_NAME = 100
_MOST_SEEDS = 10_000
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, lt=1)]
# Of one pixel alone no crop, scale or spread can be taken.
Side = Annotated[int, Field(ge=2, le=4096)]
LayerNames = Annotated[tuple[str, ...], Field(min_length=1)]


def expanded(path: Path) -> Path:
    """Replace a leading ``~`` by the home folder, as a shell does.

    Raises:
        UserError: If there is no such user.

    Example:
        >>> expanded(Path("~/data")) == Path.home() / "data"
        True
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise UserError(f"got {shortened(str(path))}, whose home folder is not known, expected a path") from None


def _alone(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


LayersByName = Annotated[tuple[str, ...], BeforeValidator(_alone)]
UserPath = Annotated[Path, AfterValidator(expanded)]


class AugmentSettings(Settings):
    """How training images are varied.

    Example:
        >>> AugmentSettings(crop=4, flip=True).crop
        4
    """

    crop: Annotated[int, Field(ge=0, le=1024)] = 0
    flip: bool = False
    scale: tuple[Positive, Positive] | None = None
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0


class Normalize(Settings):
    """Mean and standard deviation of each channel, of pixels in [0, 1].

    Example:
        >>> Normalize(mean=(0.5,), std=(0.25,)).std
        (0.25,)
    """

    mean: tuple[float, ...]
    std: tuple[Positive, ...]


class DataSettings(Settings):
    """A data set by name, what is cut from it, and how it is fed.

    Example:
        >>> DataSettings(name="cifar100", root="data").validation
        0.0
    """

    former_values = {"color": {"grey": "gray"}}  # noqa: RUF012 - a constant

    name: str
    root: UserPath | None = None
    download: bool = False
    validation: Share = 0.0
    train_limit: Count | None = None
    test_limit: Count | None = None
    size: Side | None = None
    color: Literal["auto", "rgb", "gray"] = "auto"
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    split_seed: Seed = 0
    augment: AugmentSettings = AugmentSettings()
    normalize: Normalize | None = None
    workers: Annotated[int, Field(ge=0)] = 0


def _check_entry(weights: Path | None, entry: str | None) -> None:
    if weights is None and entry is not None:
        raise UserError(f"weights_entry: got {shortened(entry)} without weights, expected the file that holds it")


class ModelSettings(Settings):
    """A network by name, where its weights come from, its own options, and layers for methods that compare features.

    ``weights`` is a file, or what timm or torchvision call weights of theirs (``DEFAULT``): the head is new where the
    number of classes differs. ``weights_entry`` is the key of the weights within the file, such as ``model_ema``.
    ``freeze`` names the layers that are not trained, see :func:`limbeck.models.freeze`.

    Example:
        >>> ModelSettings(name="resnet8", options={"width": 0.5}).weights is None
        True
    """

    name: str
    weights: UserPath | None = None
    weights_entry: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    layers: LayerNames | None = None
    freeze: LayersByName = ()

    @model_validator(mode="after")
    def _entry_of_a_file(self) -> Self:
        _check_entry(self.weights, self.weights_entry)
        return self


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


class NetworkTeacherSettings(Settings):
    """A network as the teacher: its weights, how to train it, or both, and the inputs that it was trained with.

    ``weights`` and ``weights_entry`` are as for a student. With ``training`` beside them the weights are where that
    begins: the head is new where the number of classes differs, and ``freeze`` names layers that are not trained.

    ``precision`` is the one that it answers in: with ``auto`` that of ``training.precision``, if that is given, else
    the fastest for a forward pass on the device.

    Example:
        >>> NetworkTeacherSettings(name="resnet56").seed
        0
    """

    name: str | None = None
    weights: UserPath | None = None
    weights_entry: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    training: TrainingSettings | None = None
    train_limit: Count | None = None
    seed: Seed = 0
    normalize: Normalize | None = None
    size: Side | None = None
    train_mode: bool = False
    freeze: LayersByName = ()
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_entry(self.weights, self.weights_entry)
        if self.freeze and self.training is None:
            raise UserError("freeze: got layers without training, expected them beside the teacher's training")
        if self.name is None and (self.weights is not None or self.training is not None):
            raise UserError("name: missing, expected the teacher network's name")
        if self.training is not None and (self.normalize is not None or self.size is not None):
            raise UserError("normalize and size: are for teachers trained elsewhere, expected neither beside training")
        return self


class TeacherSettings(NetworkTeacherSettings):
    """Where the teacher's logits come from.

    ``source: auto`` takes what the method asks for, and a live network for methods that accept any. Several networks as
    one teacher stand under ``members``; ``average`` says how their answers become one, see
    :class:`limbeck.teachers.EnsembleTeacher`. ``layers`` are those that methods which compare features look at.
    ``cache`` stores what a live or self-teacher says about each view of the training images, or about each image in
    each epoch, for this run and all later ones; see :class:`limbeck.cache.CachedTeacher`.

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

    @field_validator("cache", mode="before")
    @classmethod
    def _yaml_off(cls, value: Any) -> Any:
        # YAML reads a plain `off` as false.
        return "off" if value is False else value

    @field_validator("members", mode="before")
    @classmethod
    def _member_words(cls, value: Any) -> Any:
        return [named(one) for one in value] if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        # The seed is that of a self-teacher and a lightweight teacher too, which a comparison may hold beside these.
        blank, keys = NetworkTeacherSettings(seed=self.seed), NetworkTeacherSettings.model_fields
        given = [key for key in keys if getattr(self, key) != getattr(blank, key)]
        if self.members and given:
            raise UserError(f"members: got them beside teacher.{given[0]}, expected it within each of the members")
        if self.average != "logits" and not self.members:
            raise UserError(f"average: got {self.average!r} without members, expected teachers to average")
        if any(one in self.members[:number] for number, one in enumerate(self.members)):
            raise UserError("members: two are the same, expected another network, seed or file for each")
        return self


class MethodSettings(Settings):
    """A method by name or composition; further keys are its settings.

    Example:
        >>> MethodSettings(name="lr+dist", eta=0.7).create().settings["lr"]["eta"]
        0.7
    """

    model_config = ConfigDict(extra="allow")

    name: str = "kd"

    @model_validator(mode="after")
    def _known(self) -> Self:
        # Reading a recipe imports nothing that it names.
        if not python_names(self.name):
            self.create()
        return self

    def create(self) -> methods.Method:
        """Compose the method; this imports a ``python:`` name in it."""
        return methods.create(self.name, **(self.model_extra or {}))


def without_label(name: str) -> str:
    """Return the method that a name in a comparison stands for.

    Example:
        >>> without_label("lr+dist@hot")
        'lr+dist'
    """
    return name.partition("@")[0]


class CompareSettings(Settings):
    """What ``limbeck compare`` runs: methods, each with its own settings, and seeds.

    A method stands there once more with other settings under a label: ``kd@hot`` has the settings of ``kd``, and those
    that ``settings`` gives for ``kd@hot`` on top.

    Example:
        >>> compared = CompareSettings(methods=("none", "kd", "kd@hot"), settings={"kd@hot": {"temperature": 8}})
        >>> compared.method("kd@hot").create().settings["kd"]["temperature"]
        8.0
    """

    methods: tuple[str, ...] = ("none", "kd", "dist")
    seeds: Annotated[int, Field(ge=1, le=_MOST_SEEDS)] = 1
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("methods", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> Self:
        twice = [name for name in self.methods if self.methods.count(name) > 1]
        if twice or not self.methods:
            got = shortened(", ".join(self.methods), 200, quoted=False) or "none"
            raise UserError(f"methods: got {got}, expected each of at least one once")
        for name in self.methods:
            self._check_label(name)
        # Settings may stand there for methods that this comparison leaves out.
        for name in (*self.methods, *self.settings):
            self.method(name)
        return self

    def _check_label(self, name: str) -> None:
        base, at, label = name.partition("@")
        if at and not base:
            raise UserError(f"methods: got {shortened(name)}, expected a method's name in front of the @")
        if at and not re.fullmatch(r"[\w-]{1,50}", label):
            raise UserError(
                f"methods: got {shortened(name)}, expected letters, digits, _ and - behind the @ (up to 50)"
            )
        if at and not self.settings.get(name):
            raise UserError(f"settings.{name}: not given, expected what {name} has other than {without_label(name)}")

    def method(self, name: str) -> MethodSettings:
        """Return the settings of one of the methods."""
        base = without_label(name)
        own = self.settings.get(base, {}) | self.settings.get(name, {})
        return validated(MethodSettings, {"name": base, **own}, f"settings.{name}" if own else "")


class OutputSettings(Settings):
    """Where results go, and where trained teachers are kept for later runs.

    Example:
        >>> OutputSettings().root
        PosixPath('runs')
    """

    root: UserPath = Path("runs")
    cache: UserPath | None = None


class Recipe(Settings):
    """The whole of a run; see :func:`load_recipe`.

    Example:
        >>> recipe = Recipe.model_validate({"data": "fashion_mnist_sample", "student": "resnet8", "method": "none"})
        >>> recipe.training.epochs
        30
    """

    name: Annotated[str, Field(min_length=1)] = "run"
    task: Literal["classification"] = "classification"
    data: DataSettings
    teacher: TeacherSettings = TeacherSettings()
    student: ModelSettings
    method: MethodSettings = MethodSettings()
    training: TrainingSettings = TrainingSettings()
    compare: CompareSettings = CompareSettings()
    output: OutputSettings = OutputSettings()
    seed: Seed = 0

    @field_validator("name")
    @classmethod
    def _within_root(cls, name: str) -> str:
        # Run folders are named after it: it must not lead out of output.root.
        if name in (".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name):
            raise ValueError("expected the name of a folder, without / and \\ and control characters")
        if len(name.encode()) > _LONGEST_NAME:
            raise ValueError(f"expected a name of at most {_LONGEST_NAME} bytes")
        return name

    @model_validator(mode="before")
    @classmethod
    def _words(cls, values: Any) -> Any:
        if isinstance(values, dict):
            words = ("data", "teacher", "student", "method")
            return {key: named(value) if key in words else value for key, value in values.items()}
        return values

    def source(self) -> Literal["live", "self", "lightweight", "virtual"] | None:
        """Tell which teacher the run needs: the one asked for, else the one the method is made for, else a live one."""
        needed = self.method.create().teacher
        if needed is None or needed == "virtual":
            return needed
        if self.teacher.source != "auto":
            return self.teacher.source
        return "live" if needed == "any" else needed
