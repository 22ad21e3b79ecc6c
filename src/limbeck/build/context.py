"""What is built from a recipe: made when first needed, once."""

from dataclasses import dataclass, field
from functools import cached_property

from limbeck.build.data import load_data
from limbeck.build.networks import Network, build_student, build_teacher_network
from limbeck.build.origins import Origin, network_origin
from limbeck.build.pixels import with_store
from limbeck.build.shared import Shared
from limbeck.build.task import task_of
from limbeck.build.teacher_settings import teacher_settings
from limbeck.data import Data
from limbeck.methods import Method
from limbeck.recipes.data_settings import DataSettings
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.recipes.schema import Recipe, Source
from limbeck.tasks import Task

# Keys of a recipe that change neither its data nor its teacher; the seed counts for a lightweight teacher alone, which
# is made for each run from a shared bank.
_PER_RUN = {"name", "method", "seed", "compare", "search", "ray"}
# Of the student's training a live teacher depends on where and how precisely it is computed.
_COMPUTING = {"training": {"device", "precision", "channels_last"}}


@dataclass(frozen=True, eq=False)
class Context:
    """A recipe with what is built from it.

    Runs that differ in their method and seed alone have the same ``shared``, and with it the same data and teacher.

    Attributes:
        recipe: The run's recipe.
        shared: What was made for other runs of this process, too.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> shared = Shared()
        >>> first, second = (Context(load_recipe("quickstart", {"seed": seed}), shared) for seed in (0, 1))
        >>> first.data is second.data, first.method.name, first.source
        (True, 'dist', 'live')
    """

    recipe: Recipe
    shared: Shared = field(default_factory=Shared)

    @property
    def method(self) -> Method:
        """The composed method."""
        return self.recipe.method.composed

    @cached_property
    def source(self) -> Source | None:
        """The kind of teacher that the run needs."""
        return self.recipe.source()

    @cached_property
    def data(self) -> Data:
        """The data set.

        Raises:
            UserError: If it cannot be loaded.
        """
        settings = self.recipe.data
        return self.shared.once(("data", settings.model_dump_json()), lambda: self._load(settings))

    def _load(self, settings: DataSettings) -> Data:
        return with_store(load_data(settings), settings, self.recipe.output.cache)

    @cached_property
    def task(self) -> Task:
        """The task that networks are trained for and measured by."""
        return task_of(self.recipe, self.data)

    def student(self) -> Network:
        """Make the student: another network at every call, since a training changes it.

        Raises:
            UserError: If it cannot be made.
        """
        return build_student(self.recipe, self.data)

    @cached_property
    def teacher_key(self) -> tuple[str, ...]:
        """What a teacher depends on: runs with equal keys have the same teacher."""
        if self.source == "live":
            computing = self.recipe.model_dump_json(include=_COMPUTING)
            return "live", self.recipe.model_dump_json(exclude=_PER_RUN | {"training"}), computing
        return str(self.source), self.recipe.model_dump_json(exclude=_PER_RUN)

    @cached_property
    def teacher_settings(self) -> dict[str, NetworkTeacherSettings]:
        """The settings of each network of a live or self-teacher, by the recipe's key.

        Raises:
            UserError: If a self-teacher stands beside a student with weights.
        """
        return teacher_settings(self.recipe)

    def teacher_network(self, key: str) -> Network:
        """Return a network of the teacher before any training of it; it is shared, so it must stay as it is.

        Args:
            key: The recipe's key, such as ``"teacher"`` or ``"teacher.members.0"``.

        Raises:
            UserError: If it cannot be made, or does not fit the data.
        """
        return self.shared.once(("network", key, self.teacher_key), lambda: self._teacher_network(key))

    def take_teacher_network(self, key: str) -> Network:
        """Return a network of the teacher to train it or to load weights: a later call gives another one.

        Raises:
            UserError: As for :meth:`teacher_network`.
        """
        # Later runs need the network's origin, too.
        self._origin(key)
        return self.shared.take(("network", key, self.teacher_key), lambda: self._teacher_network(key))

    def _teacher_network(self, key: str) -> Network:
        return build_teacher_network(self.teacher_settings[key], self.data, self.task, key)

    def _origin(self, key: str) -> Origin:
        return self.shared.once(
            ("origin", key, self.teacher_key),
            lambda: network_origin(self.teacher_network(key).module, self.teacher_settings[key]),
        )

    def live_origins(self) -> dict[str, Origin]:
        """Return where each network of a live teacher comes from, by the recipe's key; empty for other teachers.

        Raises:
            UserError: As for :meth:`teacher_network`.
        """
        return {key: self._origin(key) for key in self.teacher_settings} if self.source == "live" else {}
