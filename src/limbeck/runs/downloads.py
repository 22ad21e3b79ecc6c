"""What a recipe's runs would download, and the recipe without that, and without a store of decoded pixels."""

from typing import TypeVar

from limbeck.build.weights import library_weights
from limbeck.recipes.network_settings import NetworkSettings, NetworkTeacherSettings
from limbeck.recipes.schema import Recipe
from limbeck.training import TrainingSettings

Settings = TypeVar("Settings", bound=NetworkSettings)


def without_downloads(recipe: Recipe) -> tuple[Recipe, dict[str, str]]:
    """Return a recipe that downloads and stores nothing, and a line for each download of the given one by its key.

    Its networks have the structure of the given ones; those whose weights are not there count as if a run trained them.

    Args:
        recipe: The recipe.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> recipe, lines = without_downloads(load_recipe("imagenet-teacher"))
        >>> recipe.teacher.weights, lines
        (None, {'teacher': 'timm:tf_efficientnet_lite0: its weights DEFAULT, unless timm has them already'})
    """
    lines: dict[str, str] = {}
    teacher = _without(recipe.teacher, "teacher", lines)
    members = tuple(_without(m, f"teacher.members.{n}", lines) for n, m in enumerate(recipe.teacher.members))
    parts = {
        "data": recipe.data.model_copy(update={"download": False, "store": "off"}),
        "student": _without(recipe.student, "student", lines),
        "teacher": teacher.model_copy(update={"members": members}) if members else teacher,
    }
    return recipe.model_copy(update=parts), lines


def _without(settings: Settings, key: str, lines: dict[str, str]) -> Settings:
    library = str(settings.name).partition(":")[0]
    # ``pretrained`` among the options is what ``weights`` is turned into.
    option = settings.options.get("pretrained") if library in ("timm", "torchvision") else None
    weights = library_weights(settings) or option
    if not weights:
        return settings
    weights = "DEFAULT" if weights is True else weights
    lines[key] = f"{settings.name}: its weights {weights}, unless {library} has them already"
    options = {key: value for key, value in settings.options.items() if key != "pretrained"}
    changes: dict[str, object] = {"weights": None, "options": options}
    if isinstance(settings, NetworkTeacherSettings) and settings.training is None:
        # A teacher without either is refused.
        changes["training"] = TrainingSettings()
    return settings.model_copy(update=changes)
