"""Tables in files, and what is refused of them."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch

from limbeck import data as datasets
from limbeck.data.tables import prepare
from limbeck.errors import UserError

ROWS = pd.DataFrame(
    {
        "size": [1.5, 2.0, -3.0, 4.0, 0.5, 2.5, 3.5, 1.0, 2.0, 6.0],
        "color": ["red", "blue", "red", "NA", "blue", "red", "NA", "blue", "red", "blue"],
        "count": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        "kind": ["a", "b"] * 5,
    }
)


def load(root, **options):
    settings = {key: options.pop(key) for key in ("test_share", "seed", "validation", "train_limit") if key in options}
    return datasets.load("table", root=root, options={"label": "kind", **options}, **settings)


def written(path, frame=ROWS):
    if ".csv" in path.name:
        frame.to_csv(path, index=False)
    elif path.suffix == ".tsv":
        frame.to_csv(path, index=False, sep="\t")
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        np.savez(path, **{name: frame[name].to_numpy(str if name in ("color", "kind") else float) for name in frame})
    return path


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.tsv", "rows.parquet", "rows.npz"])
def test_every_kind_of_file_holds_the_same_table(tmp_path, name):
    expected = load(written(tmp_path / "expected.csv"), test_rows=4)
    data = load(written(tmp_path / name), test_rows=4)
    assert data.classes == ("a", "b")
    assert (len(data.train), len(data.test), data.shape) == (6, 4, (5,))
    assert data.preparation["categories"] == {"color": ["NA", "blue", "red"]}
    assert torch.equal(data.train.inputs, expected.train.inputs)
    assert torch.equal(data.test.labels, expected.test.labels)


def test_the_last_rows_are_the_test_split_and_the_first_ones_are_standardized(tmp_path):
    data = load(written(tmp_path / "rows.csv"), test_rows=4, ignore="color")
    first, last = ROWS[["size", "count"]].iloc[:6], ROWS[["size", "count"]].iloc[6:]
    expected = (last - first.mean()) / first.std(ddof=0)
    assert torch.allclose(data.test.inputs, torch.tensor(expected.to_numpy(), dtype=torch.float32))
    assert data.train.inputs.mean(0).abs().max() < 1e-6


def test_a_seeded_share_of_each_class_is_the_test_split(tmp_path):
    path = written(tmp_path / "rows.csv")
    data = load(path, test_share=0.4, seed=3)
    assert data.test.labels.bincount().tolist() == [2, 2]
    assert torch.equal(data.test.inputs, load(path, test_share=0.4, seed=3).test.inputs)
    assert not torch.equal(data.test.inputs, load(path, test_share=0.4, seed=4).test.inputs)


def test_a_folder_of_splits(tmp_path):
    for name, rows in (("train.csv", slice(0, 6)), ("val.tsv", slice(6, 8)), ("test.parquet", slice(8, 10))):
        written(tmp_path / name, ROWS.iloc[rows])
    data = load(tmp_path)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [6, 2, 2]


def test_cuts_are_those_of_any_data(tmp_path):
    data = load(written(tmp_path / "rows.csv"), test_rows=2, validation=0.25, train_limit=4)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [4, 2, 2]


def test_labels_are_found_by_their_name(tmp_path):
    path = written(tmp_path / "rows.csv", ROWS.rename(columns={"kind": "Target"}))
    assert datasets.load("table", root=path).preparation["label"] == "Target"


def test_numbers_as_labels_are_classes_in_their_order(tmp_path):
    path = written(tmp_path / "rows.csv", ROWS.assign(kind=[10, 9] * 5))
    assert load(path).classes == ("9", "10")
    assert load(written(tmp_path / "rows.parquet", ROWS.assign(kind=[10.0, 9.0] * 5))).classes == ("9", "10")


def test_series_of_an_npz_are_standardized_by_channel(tmp_path):
    series = np.random.default_rng(0).normal(5, 2, (20, 3, 8))
    np.savez(tmp_path / "series.npz", x=series, label=np.arange(20) % 2)
    data = datasets.load("table", root=tmp_path / "series.npz", options={"test_rows": 5})
    assert (data.shape, data.unit, data.facts) == ((3, 8), "series", {"in_features": 24, "in_channels": 3, "length": 8})
    train = series[:15]
    expected = (series[15:] - train.mean((0, 2), keepdims=True)) / train.std((0, 2), keepdims=True)
    assert torch.allclose(data.test.inputs, torch.tensor(expected, dtype=torch.float32), atol=1e-6)


def test_rows_of_a_csv_are_series_by_the_option(tmp_path):
    path = written(tmp_path / "rows.csv", ROWS.assign(more=range(10), most=range(10)))
    assert load(path, ignore=["color"], shape=[2, 2]).shape == (2, 2)
    with pytest.raises(
        UserError, match=r"data.options.shape: got \[2, 3\], 6 numbers, but a row has 4 numeric columns"
    ):
        load(path, ignore=["color"], shape=[2, 3])
    with pytest.raises(UserError, match="but a row has categorical columns"):
        load(path, shape=[2, 2])


BAD = {
    "no label": (ROWS.drop(columns="kind"), {}, r"rows.csv has no column 'kind', expected one of: size, color, count"),
    "missing number": (ROWS.assign(size=[None, *range(9)]), {}, r"rows.csv: column 'size', row 1: is missing"),
    "missing category": (ROWS.assign(color=["x"] * 9 + [None]), {}, r"column 'color', row 10: is missing"),
    "missing label": (ROWS.assign(kind=[*"abababab", None, "b"]), {}, r"column 'kind', row 9: is missing"),
    "infinite": (ROWS.assign(size=[np.inf, *range(9)]), {}, r"column 'size', row 1: got inf, expected a finite number"),
    "no number": (ROWS.assign(size=[*range(9), "?"]), {}, r"rows.csv: column 'size', row 10: got '\?', expected a num"),
    "text as number": (ROWS, {"categorical": []}, r"column 'color', row 1: got 'red', expected a number"),
    "unseen category": (
        ROWS.assign(color=["red"] * 8 + ["blue"] * 2),
        {"test_rows": 2},
        r"rows.csv: column 'color', row 9: got 'blue', expected a category of the training rows: red$",
    ),
    "unseen class": (
        ROWS.assign(kind=[*"abababab", "c", "a"]),
        {"test_rows": 2},
        r"rows.csv: column 'kind', row 9: got 'c', expected a class of the training rows: a, b$",
    ),
    "one class": (ROWS.assign(kind="a"), {}, r"rows.csv: column 'kind' has one class, 'a', expected at least two"),
    "nothing to learn from": (ROWS[["kind"]], {}, r"has no column beside 'kind'"),
    "ignored is missing": (ROWS, {"ignore": "sise"}, r"data.options.ignore: rows.csv has no column 'sise'"),
    "test rows": (ROWS, {"test_rows": 10}, r"data.options.test_rows: got 10, expected 1 to 9 of the rows of rows.csv"),
    "unknown option": (ROWS, {"lable": "kind"}, r"unknown option 'lable'; did you mean 'label'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_in_one_line(tmp_path, case):
    frame, options, message = BAD[case]
    with pytest.raises(UserError, match=message) as error:
        load(written(tmp_path / "rows.csv", frame), **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "x,kind\n" + "".join(f"{100 + k},{k},{'ab'[k % 2]}\n" for k in range(8)),
            "Expected 2 fields in line 2, saw 3",
        ),
        ("x,kind\n" + "".join(f"{k},{'ab'[k % 2]},\n" for k in range(8)), "Expected 2 fields in line 2, saw 3"),
        ("x,kind,kind\n" + "1,a,a\n2,b,b\n" * 4, "rows.csv: two columns are named 'kind', expected a name of its own"),
        (
            ",x,kind\n" + "1,2,a\n2,3,b\n" * 4,
            "rows.csv: column 1 has no name, expected one, or 'Unnamed: 0' in data.opt",
        ),
    ],
    ids=["more cells", "commas at the ends", "repeated name", "no name"],
)
def test_columns_that_pandas_would_rename_or_shift_are_refused(tmp_path, content, message):
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "rows.csv")


def test_a_column_without_a_name_can_be_ignored(tmp_path):
    ROWS.to_csv(tmp_path / "rows.csv")
    assert load(tmp_path / "rows.csv", ignore="Unnamed: 0").shape == (5,)


def test_codes_are_categories_as_they_are_written(tmp_path):
    lines = [f"{('01', '1', '001')[k % 3]},{k},{'ab'[k % 2]}" for k in range(12)]
    (tmp_path / "rows.csv").write_text("\n".join(["zip,x,kind", *lines]))
    data = load(tmp_path / "rows.csv", categorical="zip")
    assert data.preparation["categories"] == {"zip": ["001", "01", "1"]}
    (tmp_path / "new.csv").write_text("zip,x\n01,3\n")
    assert prepare(tmp_path / "new.csv", data.preparation)[0, 1:].tolist() == [0, 1, 0]


def test_a_number_that_float32_cannot_be_is_refused(tmp_path):
    path = written(tmp_path / "rows.csv", ROWS.assign(size=[*range(9), 1e300]))
    with pytest.raises(
        UserError, match=r"rows.csv: column 'size', row 10: got 1e\+300, .* when standardized, expected"
    ):
        load(path, test_rows=2)


def test_dates_are_refused(tmp_path):
    frame = ROWS.assign(size=pd.date_range("2020-01-01", periods=10))
    with pytest.raises(UserError, match=r"rows.parquet: column 'size': holds datetime64.* values, expected numbers or"):
        load(written(tmp_path / "rows.parquet", frame))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": 128}, "data.options.shape: got 128, input should be an instance of Sequence"),
        ({"label": ["kind"]}, r"data.options.label: got \['kind'\], input should be a valid string"),
        ({"separator": 5}, "data.options.separator: got 5, input should be a valid string"),
        ({"test_share": 0.01}, "data.test_share: got a share of 0.01 of 10 samples"),
    ],
)
def test_settings_of_another_type_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        load(written(tmp_path / "rows.csv"), **options)


def test_a_class_that_no_training_row_has_is_found_in_a_file_of_its_own(tmp_path):
    written(tmp_path / "train.csv")
    written(tmp_path / "test.csv", ROWS.assign(kind="z"))
    with pytest.raises(UserError, match="test.csv: column 'kind', row 1: got 'z'"):
        load(tmp_path)
    written(tmp_path / "test.csv", ROWS.drop(columns="size"))
    with pytest.raises(UserError, match="test.csv has no column 'size'"):
        load(tmp_path)


def test_a_column_of_names_is_no_category(tmp_path):
    frame = pd.DataFrame({"id": [f"n{k}" for k in range(3000)], "size": range(3000), "label": [0, 1] * 1500})
    with pytest.raises(UserError, match="column 'id' has 2,999 categories, such as 'n0', expected at most 1,000"):
        datasets.load("table", root=written(tmp_path / "rows.csv", frame), options={"test_rows": 1})


@pytest.mark.parametrize("name", ["rows.xlsx", "rows.parquet", "rows.npz", "gone.csv"])
def test_files_that_cannot_be_read(tmp_path, name):
    if name != "gone.csv":
        (tmp_path / name).write_bytes(b"no table")
    with pytest.raises(UserError, match=f"data.root: .*{name}"):
        load(tmp_path / name)


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    np.savez(tmp_path / "rows.npz", a=np.array([{}, {}], dtype=object), label=np.array([0, 1]))
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "rows.npz")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"a,label\n1,x\n2,y\n"))
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(UserError, match=r"rows.csv.gz: needs the package pandas, .* pip install 'limbeck\[tables\]'"):
        load(path)


@pytest.mark.parametrize(
    ("name", "rows", "width", "classes"),
    [
        ("iris", 150, 4, 3),
        ("wine", 178, 13, 3),
        ("breast_cancer", 569, 30, 2),
        ("digits", 1797, 64, 10),
    ],
)
def test_bundled_sets(name, rows, width, classes):
    data = datasets.load(name)
    assert (len(data.train) + len(data.test), data.shape, len(data.classes)) == (rows, (width,), classes)
    assert 0.19 < len(data.test) / rows < 0.21
    assert datasets.load(name, seed=1).fingerprint != data.fingerprint == datasets.load(name).fingerprint
