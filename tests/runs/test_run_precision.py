"""A run's student and teacher compute each in its own precision, and what is kept is kept by it."""

import pytest

import limbeck
from limbeck.build.teacher_settings import teacher_precisions
from limbeck.errors import UserError
from limbeck.runs import Reporting, load_recipe


@pytest.fixture(autouse=True)
def _bf16(monkeypatch):
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)


def with_precision(tiny, student="auto", teacher="auto", **more):
    training = {**tiny["training"], "precision": student}
    return {**tiny, "method": "kd", "training": training, "teacher": {**tiny["teacher"], "precision": teacher}, **more}


def headline(recipe, out):
    lines = []
    limbeck.run(recipe, out=out, reporting=Reporting(lines.append))
    return lines[0]


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        (
            {"name": "resnet8", "options": {"width": 0.25}},
            "cpu, student bf16 channels_last, teacher bf16 channels_last",
        ),
        ({"name": "mobilenetv2"}, "cpu, student fp32 channels_last, teacher bf16 channels_last"),
    ],
)
def test_the_headline_has_the_precision_that_auto_resolves_to(tiny, tmp_path, student, expected):
    short = {**tiny["data"], "train_limit": 40}
    assert expected in headline({**with_precision(tiny, data=short), "student": student}, tmp_path / "r")


def test_a_run_without_a_teacher_shows_the_student_alone(tiny, tmp_path):
    line = headline({**tiny, "training": {**tiny["training"], "channels_last": False}}, tmp_path / "run")
    assert "cpu, student fp32, seed 0" in line


def test_whose_precision_is_which(tiny):
    def of(student, teacher, **more):
        return teacher_precisions(load_recipe(with_precision(tiny, student, teacher, **more)))

    assert of("auto", "auto") == ["bf16"]
    assert of("fp32", "auto") == ["fp32"]
    assert of("fp32", "bf16") == ["bf16"]
    assert of("bf16", "fp32", method="dr_kd") == ["fp32"]
    members = [{**tiny["teacher"], "seed": 1, "precision": "fp32"}, {**tiny["teacher"], "seed": 2}]
    recipe = load_recipe({**with_precision(tiny, "bf16"), "teacher": {"members": members}})
    assert teacher_precisions(recipe) == ["fp32", "bf16"]


def test_fp16_for_a_teacher_on_a_cpu_is_one_line(tiny, tmp_path):
    with pytest.raises(UserError, match=r"^teacher\.precision: got 'fp16' on cpu"):
        limbeck.run(with_precision(tiny, teacher="fp16"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_caches_follow_the_teachers_precision_and_not_the_students(tiny, tmp_path):
    views = {"cache": "views", "cache_dtype": "float32"}
    caches = tmp_path / "cache" / "logits"
    for number, (student, teacher, expected) in enumerate(
        (("fp32", "fp32", 1), ("bf16", "fp32", 1), ("fp32", "bf16", 2), ("bf16", "bf16", 2))
    ):
        recipe = with_precision(tiny, student, teacher)
        limbeck.run({**recipe, "teacher": {**recipe["teacher"], **views}}, out=tmp_path / str(number))
        assert len(list(caches.iterdir())) == expected


def test_kept_teachers_follow_what_auto_came_to(tiny, tmp_path):
    kept = tmp_path / "cache" / "teachers"
    for number, (precision, layout, expected) in enumerate(
        (("auto", "auto", 1), ("bf16", True, 1), ("fp32", True, 2), ("bf16", False, 3))
    ):
        recipe = with_precision(tiny)
        training = {**recipe["teacher"]["training"], "precision": precision, "channels_last": layout}
        recipe["teacher"] = {**recipe["teacher"], "training": training}
        limbeck.run(recipe, out=tmp_path / str(number))
        assert len([path for path in kept.iterdir() if path.is_dir()]) == expected
