"""The DAGs that model folders become."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MODEL = "flight_air_time"
KINDS = ("daily", "collect", "watch", "train", "release", "rollback")
Read = Callable[[Path, Path], dict[str, Any]]


@pytest.fixture(scope="module")
def shipped(read_dags: Read) -> dict[str, Any]:
    """The DAGs of the models that are shipped."""
    return read_dags(ROOT / "dags", ROOT / "include" / "models")


def test_every_model_has_its_dags(shipped: dict[str, Any]) -> None:
    assert shipped["errors"] == {}
    assert set(shipped["dags"]) == {f"{model}.{kind}" for model in (MODEL, "flight_late") for kind in KINDS}


def test_daily_goes_from_the_batch_to_the_verdict(shipped: dict[str, Any]) -> None:
    assert shipped["dags"][f"{MODEL}.daily"]["tasks"] == {
        "wait": ["feedback", "ingest"],
        "ingest": ["validate"],
        "validate": ["score"],
        "score": ["profile_batch"],
        "profile_batch": ["judge"],
        "collect": ["feedback"],
        "feedback": ["judge"],
        "judge": [],
    }


def test_every_step_of_a_release_can_be_rolled_back(shipped: dict[str, Any]) -> None:
    tasks = shipped["dags"][f"{MODEL}.release"]["tasks"]
    assert list(tasks) == ["request", "approve", "shadow", "canary_5", "canary_50", "live", "bake", "rollback"]
    assert all("rollback" in tasks[step] for step in ("shadow", "canary_5", "canary_50", "live", "bake"))
    assert "rollback" not in tasks["approve"]


def test_person_on_call_finds_one_form_that_rolls_back_unless_told_otherwise(shipped: dict[str, Any]) -> None:
    dag = shipped["dags"][f"{MODEL}.rollback"]
    assert dag["tasks"] == {"intervene": []}
    assert dag["params"]["action"]["enum"] == ["rollback", "hold", "resume"]


def test_forms_describe_every_field(shipped: dict[str, Any]) -> None:
    for dag in shipped["dags"].values():
        for schema in dag["params"].values():
            assert schema["type"]
            assert schema["title"]
            assert schema["description"]


def test_skipping_approval_is_offered_only_where_the_spec_allows_it(read_dags: Read, tmp_path: Path) -> None:
    assert (
        "skip_approval" not in read_dags(ROOT / "dags", ROOT / "include" / "models")["dags"][f"{MODEL}.train"]["params"]
    )
    folder = tmp_path / MODEL
    shutil.copytree(ROOT / "include" / "models" / MODEL, folder)
    spec = folder / "model.yaml"
    spec.write_text(spec.read_text().replace("release:\n", "release:\n  automation: optional\n"))
    assert "skip_approval" in read_dags(ROOT / "dags", tmp_path)["dags"][f"{MODEL}.train"]["params"]


def test_broken_folder_is_an_import_error_and_leaves_the_others_alone(read_dags: Read, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "include" / "models" / MODEL, tmp_path / MODEL)
    broken = tmp_path / "broken_model"
    shutil.copytree(tmp_path / MODEL, broken)
    text = (broken / "model.yaml").read_text().replace("name: flight_air_time", "name: broken_model")
    (broken / "model.yaml").write_text(text.replace("holdout_days: 7", "holdout_day: 7"))
    found = read_dags(ROOT / "dags", tmp_path)
    assert set(found["dags"]) == {f"{MODEL}.{kind}" for kind in KINDS}
    assert list(found["errors"]) == ["broken_models.py"]
    error = found["errors"]["broken_models.py"]
    assert "broken_model/model.yaml: train.holdout_day: there is no such key." in error
    assert "Did you mean 'holdout_days'?" in error
