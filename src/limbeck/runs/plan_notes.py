"""What a comparison's table reports of its plan: settings other than the defaults, controls, extended runs."""

from collections.abc import Sequence

from limbeck import methods
from limbeck.recipes.method_settings import without_label
from limbeck.runs.attempts import Planned


def changed_settings(plans: Sequence[Planned]) -> list[str]:
    """List the settings of each method that are not its defaults.

    Args:
        plans: The runs of a comparison.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> from limbeck.runs.folder import RunFolder
        >>> hot = load_recipe("quickstart", {"method": {"name": "kd", "temperature": 8}})
        >>> changed_settings([Planned("kd", hot, RunFolder("runs/kd"))])
        ['kd: temperature 8.0']
    """
    lines = []
    for name, method in {plan.name: plan.recipe.method for plan in plans if plan.recipe.method.model_extra}.items():
        values, defaults = method.composed.settings, methods.create(method.composed.name).settings
        differing = [
            f"{key} {value}"
            for token, settings in values.items()
            for key, value in settings.items()
            if value != defaults[token][key]
        ]
        lines += [f"{name}: {', '.join(differing)}"] if differing else []
    return lines


def controls_among(plans: Sequence[Planned]) -> dict[str, str]:
    """Return the controls among the methods, such as ``lr_ds@random``, each with the method that it is one of.

    Args:
        plans: The runs of a comparison.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> from limbeck.runs.folder import RunFolder
        >>> settings = {"lr_ds": {"scorer": "influence"}, "lr_ds@random": {"scorer": "random"}}
        >>> recipes = {k: load_recipe("quickstart", {"method": {"name": "lr_ds", **v}}) for k, v in settings.items()}
        >>> controls_among([Planned(name, recipe, RunFolder("runs")) for name, recipe in recipes.items()])
        {'lr_ds@random': 'lr_ds'}
    """
    composed = {plan.name: plan.recipe.method.composed.settings.values() for plan in plans}
    return {
        name: base
        for name, settings in composed.items()
        if (base := without_label(name)) != name
        and base in composed
        and any(values.get("scorer") == "random" or values.get("shuffled") for values in settings)
    }


def extended_runs(plans: Sequence[Planned]) -> list[str]:
    """List the complete runs that were first trained for fewer epochs, which a row of the table does not show.

    Args:
        plans: The runs of a comparison.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> from limbeck.runs.folder import RunFolder
        >>> plan = Planned("kd", load_recipe("quickstart", {"method": "kd"}), RunFolder("runs/kd"))
        >>> extended_runs([plan])
        []
    """
    extensions = {plan.label: plan.folder.extended_from() for plan in plans if plan.folder.finished}
    return [
        f"{label}: extended from {' and '.join(map(str, epochs))} epochs, not trained for all at once"
        for label, epochs in extensions.items()
        if epochs
    ]
