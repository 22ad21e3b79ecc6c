"""Files of texts for tests."""

import csv
import json

LABELS = ("card", "loan", "rate")


def rows(count, start=0):
    """Sentences whose first word decides their class."""
    return [
        (f"{LABELS[i % 3]} please number {i} {'very ' * (i % 5)}", LABELS[i % 3]) for i in range(start, start + count)
    ]


def write_csv(path, pairs, header=("text", "category"), delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(pairs)


def write_jsonl(path, pairs):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"sentence": text, "label": label}) + "\n" for text, label in pairs))


def write_folder(root):
    write_csv(root / "train.csv", rows(48))
    write_csv(root / "test.csv", rows(12, start=100))
    return root
