"""Warnings that follow from a method's settings and the length of a training, with what to do about each."""

from limbeck.methods import Method
from limbeck.recipes.schema import Recipe

# CIFAR-10, 10,000 images, 12 epochs: 58.8 % with dkd, 67.7 without; after 40 epochs it is ahead (docs/claims.md).
_SHORT = 30
# With a self-teacher, CE at a twentieth of the loss: 1.3 to 1.4 points below plain training (docs/claims.md).
_MOSTLY_SELF = 0.9


def method_warnings(recipe: Recipe) -> tuple[str, ...]:
    """Warn of settings whose students were worse than without a teacher where they were measured.

    Args:
        recipe: The run's recipe.

    Returns:
        A line for each.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> recipe = load_recipe("quickstart", {"method": "dkd", "training.epochs": 12})
        >>> method_warnings(recipe)
        ('dkd without warmup fell below no teacher in 12 epochs: compare none, method.warmup and a longer training',)
    """
    method = recipe.method.composed
    return (*_without_warmup(method, recipe.training.epochs), *_of_self_teachers(method))


def _without_warmup(method: Method, epochs: int) -> tuple[str, ...]:
    sudden = any(term.name == "dkd" and not term.warmup for term in method.terms)
    if epochs >= _SHORT or not sudden:
        return ()
    return ("dkd without warmup fell below no teacher in 12 epochs: compare none, method.warmup and a longer training",)


def _of_self_teachers(method: Method) -> tuple[str, ...]:
    return tuple(
        f"{name} with alpha 0.95 fell below no teacher in 6 and 40 epochs, got {settings['alpha']:g}: compare 0.5"
        for name, settings in method.settings.items()
        if name in ("dr_kd", "tf_kd_self") and settings["alpha"] >= _MOSTLY_SELF and settings["scale"] == "paper"
    )
