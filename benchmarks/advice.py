"""What the advice costs: the advised methods beside the best of all that were measured, over the claims' teachers.

    OMP_NUM_THREADS=1 python benchmarks/advice.py             # 20 minutes on one core; needs LIMBECK_SHARED
    OMP_NUM_THREADS=1 python benchmarks/advice.py --only letters,banking
    OMP_NUM_THREADS=1 python benchmarks/advice.py --kept      # of the cards that are there

For each pair of a student and a teacher in docs/claims.md the teacher is made as there (those that are kept are used),
``limbeck.advise`` makes its card, and the advised methods' accuracies are looked up in results/claims-cpu.jsonl: no
student is trained by this script but the brief ones. Cards are kept in --out, and an unfinished script goes on there.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import limbeck
from claims import make_known, network_of
from claims_budgets import BUDGETS
from claims_lines import Lines
from claims_plan import Budget, Claim, Method, Regime, Row, plan, row_of
from limbeck import methods
from limbeck.advice import Card, SplitFigures, Suggestion, rule_for
from record import RESULTS, commit, record

# The rules were written on these; see docs/advice.md.
WRITTEN_ON = ("letters", "fashion")
# A published figure of these is the ground of a rule.
IN_A_RULE = ("cifar100",)
ALWAYS = ("none", "kd(0.9, T4)", "dist", "lr_ds", "kd, weight auto")
LIVE = Method("kd", "kd")
Gains = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """A student and a teacher, and what was measured with them.

    Attributes:
        claim: The first claim that has them.
        regime: Its regime.
        gains: Over no teacher in points, by the label of the method: the mean of the seeds that both have.
        methods: The methods by their label.
    """

    claim: Claim
    regime: Regime
    gains: Gains
    methods: Mapping[str, Method]

    @property
    def group(self) -> str:
        """The data."""
        return self.regime.setting.partition("_")[0]


def cases(budget: Budget, lines: Lines) -> list[Case]:
    """List the pairs of a student and a teacher with at least two methods beside none."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in plan(budget, [claim.letter for claim in budget.claims]):
        if row.regime.teacher is not None and lines.done(row) and "accuracy" in lines[row.key]:
            rows.setdefault((row.regime.setting, row.regime.teacher), []).append(row)
    found = [case_of(budget, of_one, lines) for of_one in rows.values()]
    return [case for case in found if len(case.gains) > 2]


def case_of(budget: Budget, rows: Sequence[Row], lines: Lines) -> Case:
    """Gather the runs of one pair."""
    accuracies: dict[str, dict[int, float]] = {}
    for row in rows:
        accuracies.setdefault(row.method.label, {})[row.seed] = 100 * lines[row.key]["accuracy"]
    base, gains = accuracies.get("none", {}), {}
    for label, by_seed in accuracies.items():
        if shared := base.keys() & by_seed.keys():
            gains[label] = statistics.fmean(by_seed[seed] - base[seed] for seed in shared)
    claim = next(claim for claim in budget.claims if claim.letter == rows[0].claim)
    return Case(claim, rows[0].regime, gains, {row.method.label: row.method for row in rows})


def card_file(case: Case, out: Path) -> Path:
    """Return where a case's card is kept."""
    return out / "advice" / f"{case.regime.setting}-{case.regime.teacher}.json"


def card_of(case: Case, budget: Budget, lines: Lines, out: Path) -> Card:
    """Return a case's card; one that is kept is read."""
    file = card_file(case, out)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(measured(case, budget, lines, out)))
    values = json.loads(file.read_text())
    splits = {name: SplitFigures(**values[name]) for name in ("train", "held_out")}
    known = {name: values[name] for name in Card.__dataclass_fields__}
    return Card(**{**known, **splits})


def measured(case: Case, budget: Budget, lines: Lines, out: Path) -> dict[str, Any]:
    """Make a case's card."""
    row = row_of(budget, case.claim, case.regime, LIVE, 0)
    assert row.teacher is not None
    teacher = {**network_of(row.teacher, lines, out), **row.recipe["teacher"]}
    recipe = {**row.recipe, "teacher": teacher, "output": {"cache": str(out / "cache")}}
    return dict(limbeck.advise(recipe, trust=True).figures["card"])


def label_of(suggestion: Suggestion, case: Case) -> str | None:
    """Return the label of the measured method that is the suggested one; None if it was not measured."""
    name = suggestion.method.partition("@")[0]
    wanted = methods.create(name, **suggestion.settings).settings
    for label, method in case.methods.items():
        same = method.name == name and wanted == method.composed().settings
        if same and method.source != "self" and label in case.gains:
            return label
    return None


def line_of(case: Case, card: Card) -> dict[str, Any]:
    """Compare the advice with what was measured."""
    rule = rule_for(card)
    labels = [label_of(suggestion, case) for suggestion in rule.suggestions]
    known = [label for label in labels if label is not None]
    best = max(case.gains, key=lambda label: case.gains[label])
    always = {f"always {label}": case.gains[best] - case.gains[label] for label in ALWAYS if label in case.gains}
    return {
        "regime": case.regime.name,
        "group": case.group,
        "rule": rule.name,
        "advice": [suggestion.method for suggestion in rule.suggestions],
        "first": known[0] if known else None,
        "is_first": bool(known) and known[0] == labels[0],
        "best": best,
        "gain": case.gains[best],
        "regret": case.gains[best] - case.gains[known[0]] if known else None,
        "regret_of_three": case.gains[best] - max(case.gains[label] for label in known) if known else None,
        **always,
        "methods": len(case.gains),
        "card": {name: getattr(card, name) for name in ("gap", "surer", "common", "overfit", "temperature")},
    }


def shown(line: Mapping[str, Any]) -> dict[str, Any]:
    """Write a case as a row of the table."""
    first = line["first"] or "not measured"
    return {
        "regime": line["regime"],
        "rule": line["rule"],
        "first advice": first if line["is_first"] else f"{first} (in place of {line['advice'][0]})",
        "best measured": f"{line['best']} ({line['gain']:+.2f}; of {line['methods']})",
        "regret": number(line["regret"]),
        "best of three": number(line["regret_of_three"]),
        **{f"always {label}": number(line.get(f"always {label}")) for label in ALWAYS},
    }


def number(value: float | None) -> str:
    """Write points, or nothing."""
    return "" if value is None else f"{value:.2f}"


def summaries(lines: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Average the regrets: of all data that the rules were written on, of each other, and of these together."""
    others = sorted({line["group"] for line in lines} - {*WRITTEN_ON, *IN_A_RULE})
    parts = {"written on: letters, fashion": WRITTEN_ON, "in a rule: cifar100": IN_A_RULE}
    parts |= {f"held out: {group}": (group,) for group in others}
    if len(others) > 1:
        parts[f"held out: {', '.join(others)}"] = tuple(others)
    for title, groups in parts.items():
        if part := [line for line in lines if line["group"] in groups]:
            yield summary(f"{title}, {len(part)} pairs", part)
        if with_dist := [line for line in part if "always dist" in line]:
            yield summary(f"{title}, {len(with_dist)} of them with dist", with_dist)


def summary(title: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Average the regrets of some cases, and write the largest behind it."""
    keys = {"regret": "regret", "best of three": "regret_of_three"} | {f"always {x}": f"always {x}" for x in ALWAYS}
    values = {name: [line[key] for line in lines if line.get(key) is not None] for name, key in keys.items()}
    return {"regime": title, **{name: averaged(of_one, lines) for name, of_one in values.items()}}


def averaged(values: Sequence[float], of: Sequence[object]) -> str:
    """Write the mean and the largest of some regrets, and how many there are if not all."""
    if not values:
        return ""
    count = "" if len(values) == len(of) else f", {len(values)} pairs"
    return f"{statistics.fmean(values):.2f} (at most {max(values):.2f}{count})"


TITLE = "The advised methods beside the best measured ones"
NOTES = (
    "Regret: the gain of the best of all measured methods and settings, less that of the advised one, in points of test"
    " accuracy; gains are taken over the seeds that a method and none share.",
    "The best is the largest of up to 40 means of one to five seeds, of which the largest is so by chance in part: a"
    " choice that is as good as it has a regret above 0 as well.",
    "Where the first advice was not measured, the first of the advised methods that was stands in its place; best of"
    " three is over those of the advised methods that were measured.",
    "Rules and thresholds were written on letters and Fashion-MNIST. The rule for teachers that are right but unsure"
    " rests on the figures of CIFAR-100's teacher. Of Banking77 and Imagenette nothing was tuned, but the author had"
    " read docs/claims.md, where some of their figures stand in the text.",
)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What the advice costs.")
    parser.add_argument("--only", type=lambda word: tuple(word.split(",")), help="with which settings' names begin")
    parser.add_argument("--kept", action="store_true", help="make no card: leave pairs without one out, and name them")
    parser.add_argument("--out", type=Path, default=Path("runs") / "claims-cpu", help="the folder of the claims' runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the table is written")
    return parser.parse_args()


def main() -> None:
    """Make the cards that are missing, and write the table."""
    args, budget = arguments(), BUDGETS["cpu"]
    lines = Lines(args.out / "lines.jsonl", commit(), RESULTS / "claims-cpu.jsonl")
    make_known(budget, args.out)
    made, missing = [], []
    for case in cases(budget, lines):
        if not case.regime.setting.startswith(args.only or ""):
            continue
        if args.kept and not card_file(case, args.out).is_file():
            missing.append(case.regime.name)
            continue
        made.append(line_of(case, card_of(case, budget, lines, args.out)))
        print(f"{made[-1]['regime']}: {made[-1]['rule']}", flush=True)
    left_out = f"Left out, as they have no card yet: {'; '.join(missing) or 'none'}."
    record("advice-cpu", TITLE, [*map(shown, made), *summaries(made)], (*NOTES, left_out), folder=args.results)
    file = args.results / "advice-cpu.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pairs": made}, indent=2) + "\n")


if __name__ == "__main__":
    main()
