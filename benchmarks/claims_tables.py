"""The tables of the claims: means over seeds, and differences taken seed by seed."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy.stats import t as student_t

from claims_lines import Lines
from claims_plan import Budget, Claim, Regime, Row
from harness import with_spread

Line = Mapping[str, Any]
BySeed = Mapping[int, Line]


@dataclass(frozen=True)
class Difference:
    """How much better one method is than another, in points of accuracy.

    Attributes:
        mean: Over the seeds that both have.
        half: Half the width of the 95 % t interval; None with fewer than three seeds, for which it would be too wide.
    """

    mean: float
    half: float | None

    @property
    def text(self) -> str:
        """Mean and interval."""
        if self.half is None:
            return f"{self.mean:+.2f}"
        return f"{self.mean:+.2f} [{self.mean - self.half:+.2f}, {self.mean + self.half:+.2f}]"

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies on one side of zero, else 0."""
        if self.half is None or abs(self.mean) <= self.half:
            return 0
        return 1 if self.mean > 0 else -1


@dataclass(frozen=True)
class Results:
    """The finished runs of a claim.

    Attributes:
        claim: The claim.
        found: The lines by regime, method and seed.
        chosen: Which method a choice came to, by regime and choice.
    """

    claim: Claim
    found: Mapping[str, Mapping[str, BySeed]]
    chosen: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def difference(self, regime: str, one: str, other: str) -> Difference | None:
        """Compare two methods in a regime; None if they share no seed."""
        methods = self.found[regime]
        return difference(methods.get(one, {}), methods.get(other, {}))


def difference(one: BySeed, other: BySeed) -> Difference | None:
    """Take the differences of the accuracies seed by seed; None if there is no seed that both have."""
    seeds = sorted(seed for seed in one.keys() & other.keys() if "accuracy" in one[seed] and "accuracy" in other[seed])
    if not seeds:
        return None
    values = [100 * (one[seed]["accuracy"] - other[seed]["accuracy"]) for seed in seeds]
    return Difference(statistics.fmean(values), half_width(values))


def half_width(values: Sequence[float]) -> float | None:
    """Return half the width of the 95 % t interval of a mean; None for fewer than three values."""
    if len(values) < 3:
        return None
    return float(student_t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def best(methods: Mapping[str, BySeed], candidates: Sequence[str]) -> str | None:
    """Return which candidate is best on the validation split, over the seeds that all have; None without such."""
    shared = set.intersection(*(set(methods.get(candidate, {})) for candidate in candidates))
    lines = {candidate: [methods[candidate][seed] for seed in shared] for candidate in candidates}
    if not shared or any("validation" not in line for of_one in lines.values() for line in of_one):
        return None
    return max(candidates, key=lambda name: statistics.fmean(line["validation"] for line in lines[name]))


def collect(claim: Claim, rows: Sequence[Row], lines: Lines) -> Results:
    """Gather the finished runs of a claim, and make its choices."""
    found: dict[str, dict[str, dict[int, Line]]] = {regime.name: {} for regime in claim.regimes}
    for row in rows:
        if row.claim == claim.letter and lines.done(row):
            found[row.regime.name].setdefault(row.method.label, {})[row.seed] = lines[row.key]
    chosen = {}
    for regime, methods in found.items():
        for choice, candidates in claim.choices.items():
            name = best(methods, candidates)
            if name is not None:
                chosen[regime, choice] = name
                methods[choice] = methods[name]
    # A regime in which nothing but the common baseline has run has no difference yet.
    return Results(claim, {regime: methods for regime, methods in found.items() if methods.keys() - {"none"}}, chosen)


def regimes_of(results: Results) -> list[Regime]:
    """List the regimes that have results."""
    return [regime for regime in results.claim.regimes if regime.name in results.found]


def mean_of(lines: Sequence[Line], key: str, factor: float, digits: int) -> str:
    """Write the mean of a figure."""
    return f"{factor * statistics.fmean(line[key] for line in lines):.{digits}f}" if lines else ""


def method_line(results: Results, regime: Regime, label: str) -> dict[str, Any]:
    """Make the line of a method in a regime."""
    by_seed, chosen = results.found[regime.name][label], results.chosen.get((regime.name, label))
    lines = [line for line in by_seed.values() if "accuracy" in line]
    over = None if label == "none" else results.difference(regime.name, label, "none")
    failed = len(by_seed) - len(lines)
    return {
        "regime": regime.name,
        "method": f"{label}: {chosen}" if chosen else label,
        "accuracy (%)": with_spread([100 * line["accuracy"] for line in lines]) if lines else "",
        "over none": over.text if over else "",
        "ECE (%)": mean_of(lines, "ece", 100, 1),
        "NLL": mean_of(lines, "nll", 1, 3),
        "seeds": f"{len(lines)}, {failed} failed" if failed else len(lines),
    }


def order_of(claim: Claim) -> list[str]:
    """List the rows of a regime, each choice behind its last candidate."""
    labels = [method.label for method in claim.methods]
    for choice, candidates in claim.choices.items():
        labels.insert(1 + max(labels.index(candidate) for candidate in candidates), choice)
    return labels


def main_table(results: Results) -> list[dict[str, Any]]:
    """Make the table of a claim: a line for each regime and method that has a finished run."""
    return [
        method_line(results, regime, label)
        for regime in regimes_of(results)
        for label in order_of(results.claim)
        if label in results.found[regime.name]
    ]


def pair_table(results: Results) -> list[dict[str, Any]]:
    """Make the table of differences: a line for each question that has an answer, a column for each regime."""
    regimes = regimes_of(results)
    rows = [
        {"difference": " - ".join(pair)}
        | {
            regime.name: found.text if (found := results.difference(regime.name, *pair)) is not None else ""
            for regime in regimes
        }
        for pair in results.claim.questions
    ]
    answered = [row for row in rows if any(row[regime.name] for regime in regimes)]
    held = {"difference": "(the claim must hold)"} | {one.name: "yes" if one.expected else "no" for one in regimes}
    return [held, *answered] if answered else []


def verdicts(results: Results) -> Iterator[str]:
    """Count for each question in how many regimes the interval lies above zero, below, or around it.

    A regime with fewer than three seeds has no interval, and does not count.
    """
    for one, other in results.claim.questions:
        found = [results.difference(regime.name, one, other) for regime in regimes_of(results)]
        signs = [pair.sign for pair in found if pair is not None and pair.half is not None]
        if signs:
            ahead, behind = signs.count(1), signs.count(-1)
            open_ones = len(signs) - ahead - behind
            regimes = f"{len(signs)} regimes" if len(signs) > 1 else "1 regime"
            yield f"{one} against {other}: ahead in {ahead}, behind in {behind}, undecided in {open_ones} of {regimes}."


def teachers(budget: Budget, results: Results) -> Iterator[str]:
    """Describe the teacher of each regime, as measured."""
    for regime in regimes_of(results):
        measured = [
            line
            for by_seed in results.found[regime.name].values()
            for line in by_seed.values()
            if "teacher_right" in line
        ]
        if regime.teacher and measured:
            right, other = 100 * measured[0]["teacher_right"], 100 * measured[0]["teacher_validation"]
            ece = 100 * measured[0]["teacher_ece"]
            about = budget.teachers[regime.teacher].about
            figures = f"right on {right:.1f} % of the student's images and {other:.1f} % of the validation images"
            yield f"{regime.name}: {about}; {figures}, ECE there {ece:.1f} %{shares(results, regime)}."


def shares(results: Results, regime: Regime) -> str:
    """Write which share of the labels a teacher explains better than students without it, as each method measured."""
    found = {
        label: line["lambda"]
        for label, by_seed in results.found[regime.name].items()
        for line in by_seed.values()
        if "lambda" in line and label in ("kd, weight auto", "lr_ds")
    }
    return "".join(f"; lambda {share:.2f} for {label}" for label, share in found.items())


def cost(results: Results) -> str:
    """Write how long the runs of a claim took, and at which commits they were made."""
    lines = {
        line["key"]: line
        for methods in results.found.values()
        for by_seed in methods.values()
        for line in by_seed.values()
    }
    minutes = sum(line.get("seconds", 0.0) for line in lines.values()) / 60
    commits = ", ".join(sorted({line["commit"] for line in lines.values()}))
    return f"{len(lines)} runs, {minutes:.0f} core minutes, some shared with other claims; made at commit {commits}."
