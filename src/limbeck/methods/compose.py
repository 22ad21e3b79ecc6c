"""The grammar of methods: names joined by ``+``, each contributing its parts."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from limbeck.errors import UserError, unknown_name
from limbeck.methods.card import Entry
from limbeck.methods.fields import AUTO, UNMEASURED
from limbeck.methods.method import Matching, Method, Parts
from limbeck.methods.registry import entry
from limbeck.selection import Weighing
from limbeck.validation import Settings, validated


def create(name: str, **settings: Any) -> Method:
    """Compose a method from registered names.

    ``"lr+dist"`` revises the teacher as LR does and matches it as DIST does. Targets, modifiers, selection and extra
    losses of all names add up, in the order written; ``tame`` stands in front of all targets wherever it is written. A
    loss that a name carries only as its default (``lr``, ``lr_ds``, ``dr_kd``, ``tf_kd_*``, ``lw_kd``, ``none``) gives
    way to a loss named on purpose (``kd``, ``dist``, ...); several losses named on purpose are added, with the largest
    of their cross-entropy weights; of several defaults, the last one is used. With ``weigh`` that weight is 1, and the
    teacher's losses have their full weight times the teacher's. ``weight`` as a setting is short for ``weigh`` in the
    name; measured, it measures the temperature of ``kd``, ``lr`` and ``lr_ds`` too, unless that is given. ``weigh`` and
    ``tame`` take the place of what ``lr_ds`` has of them.

    Args:
        name: One name or several joined by ``+``.
        **settings: Settings by name. A plain one goes to every name that has it; a mapping under a name, as in
            ``dist={"temperature": 1}``, goes to that name alone.

    Returns:
        The method.

    Raises:
        UserError: If a name or a setting is unknown, a value is out of range, two names need different teachers, or
            nothing of the composition compares the student with the teacher.

    Example:
        >>> method = create("lr+dist", eta=0.7, temperature=1)
        >>> method.settings
        {'lr': {'eta': 0.7, 'temperature': 1.0, ...}, 'dist': {'temperature': 1.0, ...}}
        >>> [term.name for term in method.terms]
        ['dist']
        >>> create("kd", weight="auto").name
        'weigh+kd'
    """
    tokens = _with_weight([token.strip() for token in str(name).split("+")], settings)
    if len(set(tokens)) != len(tokens):
        raise UserError(f"method {name!r}: a name stands twice, expected each once")
    entries = [entry(token) for token in tokens]
    former = {key: current for e in entries for key, current in e.settings.former_keys.items()}
    settings = {former.get(key, key): value for key, value in settings.items()}
    _check_keys(entries, settings)
    given = [_given(e, settings) for e in entries]
    weighing = _on_purpose("weighing", _built(entries, given)[1])
    tempered = [{**_temperature(e, entries, weighing), **values} for e, values in zip(entries, given, strict=True)]
    chosen, parts = _built(entries, tempered)
    _check_weights(entries, chosen, parts)
    _check_twice(entries, chosen, parts)
    return _combine("+".join(tokens), tokens, chosen, parts)


def _with_weight(tokens: list[str], settings: Mapping[str, Any]) -> list[str]:
    """Put ``weigh`` beside names without the setting ``weight``, where that is given."""
    if "weight" not in settings or any("weight" in entry(token).settings.model_fields for token in tokens):
        return tokens
    return ["weigh", *tokens]


def _check_keys(entries: Sequence[Entry], settings: Mapping[str, Any]) -> None:
    names = {e.name for e in entries}
    valid = {field for e in entries for field in e.settings.model_fields}
    for key, value in settings.items():
        if key not in valid and not (key in names and isinstance(value, Mapping)):
            raise UserError(f"method {'+'.join(e.name for e in entries)}: {unknown_name('setting', key, valid)}")


def _check_weights(entries: Sequence[Entry], chosen: Sequence[Settings], parts: Sequence[Parts]) -> None:
    """Refuse weights that ``weigh`` sets aside; defaults may stand there, as in the recipe of a run."""
    if not any(part.weighing for part in parts):
        return
    for target, settings, part in zip(entries, chosen, parts, strict=True):
        terms = part.matching.terms if part.matching and "ce_weight" not in target.settings.model_fields else ()
        mixed = any(term.full_weight is not None for term in terms)
        for key in ("ce_weight", "alpha") if mixed else ("ce_weight",):
            value, field = getattr(settings, key, None), target.settings.model_fields.get(key)
            if field is not None and value != field.default:
                expected = "expected weigh.weight alone: beside weigh the labels have the weight 1"
                raise UserError(f"{target.name}.{key}: got {value} with weigh, {expected}")


def _check_twice(entries: Sequence[Entry], chosen: Sequence[Settings], parts: Sequence[Parts]) -> None:
    """Refuse settings of ``lr_ds`` that a component beside it sets aside; the component may have the same."""
    components = {e.name: settings for e, settings in zip(entries, chosen, strict=True)}
    for target, settings, part in zip(entries, chosen, parts, strict=True):
        of_weigh = ("by_row", "shuffled") if part.matching and part.weighing else ()
        of_tame = ("max_confidence",) if part.matching and part.taming else ()
        for name, key in (*(("weigh", key) for key in of_weigh), *(("tame", key) for key in of_tame)):
            value, fields = getattr(settings, key, None), target.settings.model_fields
            given = key in fields and value != fields[key].default
            if given and name in components and getattr(components[name], key) != value:
                raise UserError(f"{target.name}.{key}: got {value} beside {name}, expected {name}.{key} alone")


def _given(target: Entry, settings: Mapping[str, Any]) -> dict[str, Any]:
    fields = target.settings.model_fields
    # A mapping under the entry's name comes last, so that it wins over a plain setting.
    mapping = settings.get(target.name)
    nested = mapping if isinstance(mapping, Mapping) else {}
    plain = {
        key: value for key, value in settings.items() if key in fields and (key != target.name or value is not nested)
    }
    return plain | dict(nested)


def _built(entries: Sequence[Entry], given: Sequence[Mapping[str, Any]]) -> tuple[list[Settings], list[Parts]]:
    chosen = [validated(e.settings, values, e.name) for e, values in zip(entries, given, strict=True)]
    return chosen, [e.build(settings) for e, settings in zip(entries, chosen, strict=True)]


def _temperature(target: Entry, entries: Sequence[Entry], weighing: Weighing | None) -> dict[str, Any]:
    """Return the temperature of a name to which none is given, where what stands beside it decides that."""
    field = target.settings.model_fields.get("temperature")
    if field is None:
        return {}
    if any(e.tempers for e in entries if e is not target):
        return {"temperature": 1.0}
    if weighing and weighing.needs_measuring:
        return {"temperature": AUTO} if target.softens else {}
    return {"temperature": UNMEASURED} if field.default == AUTO else {}


def _on_purpose(field: Literal["weighing", "taming"], parts: Sequence[Parts]) -> Any:
    """Return what the parts have of a kind: that of a component (``weigh``, ``tame``) before that of ``lr_ds``."""
    having = sorted((part for part in parts if getattr(part, field)), key=lambda part: part.matching is not None)
    return getattr(having[0], field) if having else None


def _combine(name: str, tokens: Sequence[str], settings: Sequence[Settings], parts: Sequence[Parts]) -> Method:
    matching = _matching(name, parts)
    targets = tuple(target for part in parts for target in part.targets)
    selections = [part.selection for part in parts if part.selection]
    if len(selections) > 1:
        raise UserError(f"method {name!r}: selects samples twice, expected one of select and lr_ds")
    taming, weighing = _on_purpose("taming", parts), _on_purpose("weighing", parts)
    terms = matching.terms + tuple(term for part in parts for term in part.extras)
    if not terms and (targets or selections or taming or weighing):
        raise UserError(f"method {name!r}: has no loss against the teacher, add one such as +kd or +dist")
    if any(term.measured_temperature for term in terms) and not (weighing and weighing.needs_measuring):
        expected = "expected a number, or a measured weight beside it (weight: auto)"
        raise UserError(f"method {name!r}: temperature: got 'auto', {expected}")
    return Method(
        name=name,
        settings={token: chosen.model_dump() for token, chosen in zip(tokens, settings, strict=True)},
        teacher=_teacher(name, tokens, parts),
        ce_weight=1.0 if weighing else matching.ce_weight,
        label_smoothing=max(part.label_smoothing for part in parts),
        terms=tuple(term.beside_labels() for term in terms) if weighing else terms,
        targets=targets,
        modifiers=tuple(modifier for part in parts for modifier in part.modifiers),
        selection=selections[0] if selections else None,
        taming=taming,
        weighing=weighing,
        corrects=any(part.corrects for part in parts),
    )


def _matching(name: str, parts: Sequence[Parts]) -> Matching:
    matchings = [part.matching for part in parts if part.matching]
    on_purpose = [matching for matching in matchings if not matching.replaceable]
    if on_purpose:
        terms = tuple(term for matching in on_purpose for term in matching.terms)
        return Matching(max(matching.ce_weight for matching in on_purpose), terms)
    if matchings:
        return ([matching for matching in matchings if matching.terms] or matchings)[-1]
    if any(part.extras for part in parts):
        return Matching(1.0)
    raise UserError(f"method {name!r}: has no loss against the teacher, add one such as +kd or +dist")


def _teacher(name: str, tokens: Sequence[str], parts: Sequence[Parts]) -> Any:
    needed = {part.teacher: token for token, part in zip(tokens, parts, strict=True) if part.teacher}
    certain = {kind: token for kind, token in needed.items() if kind != "any"}
    if len(certain) > 1:
        listed = ", ".join(f"{token} a {kind} teacher" for kind, token in certain.items())
        raise UserError(f"method {name!r}: expected one kind of teacher, but {listed} are needed")
    return next(iter(certain), next(iter(needed), None))
