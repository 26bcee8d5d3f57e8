"""What is wrong in a model folder is said with file, key and cure."""

from pathlib import Path

import pytest

from doubles import FLIGHTS, ROOT
from trimtab.adapters.model_folder import find_folder, folders, load_all, load_folder, parse_spec
from trimtab.domain.spec import ModelSpec, is_inside
from trimtab.errors import NotFoundError, SpecError

YAML = (FLIGHTS / "model.yaml").read_text(encoding="utf-8")
SQL = "source:\n  kind: sql\n  connection: flights\n  query: SELECT * FROM flights\n"
SOURCE = YAML[YAML.index("source:") : YAML.index("# Only what is known")]


def changed(old: str, new: str) -> str:
    assert YAML.count(old) >= 1
    return YAML.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("owner: flight-operations\n", ""), "m.yaml: owner: is missing. Add it."),
        (
            changed("min_rows: 5000", "min_row: 5000"),
            "m.yaml: train.min_row: there is no such key. Did you mean 'min_rows'?",
        ),
        (changed("gate:", "gates:"), "m.yaml: gates: there is no such key. Did you mean 'gate'?"),
        (
            changed("  suite: suite.yaml", "  zzz: 1"),
            "m.yaml: validate.zzz: there is no such key. Known keys: suite.",
        ),
        (
            changed("  path: package", "  pth: package"),
            "m.yaml: source.pth: there is no such key. Did you mean 'path'? (1 more problem in this file.)",
        ),
        (
            changed("window_days: 28", "window_day: 28"),
            "m.yaml: train.candidates.0.window_day: there is no such key. Did you mean 'window_days'? "
            "(1 more problem in this file.)",
        ),
        (
            changed("{kind: parts, year: year", "{kind: parts, yeer: year"),
            "m.yaml: rows.event_day.yeer: there is no such key. Did you mean 'year'? (1 more problem in this file.)",
        ),
        (
            changed("by: tailnum", "buy: tailnum"),
            "m.yaml: rows.lookups.0.buy: there is no such key. Did you mean 'by'? (1 more problem in this file.)",
        ),
        (
            changed("holdout_days: 7", "holdout_days: one"),
            "m.yaml: train.holdout_days: Input should be a valid integer, unable to parse string as an integer. Got 'one'.",
        ),
        (
            changed("delay_days: 1", "delay_days: 0"),
            "m.yaml: label.delay_days: Input should be greater than or equal to 1. Got 0.",
        ),
        (
            changed("window_days: 28", "window_days: 1"),
            "m.yaml: train.candidates.0.window_days: Input should be greater than or equal to 2. Got 1.",
        ),
        (
            changed("    year: integer\n", "    year: int\n"),
            "m.yaml: rows.columns.year: Input should be 'number', 'number?', 'integer', 'integer?', 'text' or 'text?'. "
            "Got 'int'.",
        ),
        (
            changed("key: [carrier", "key: [carier"),
            "m.yaml: rows: key names 'carier', which rows.columns does not have.",
        ),
        (
            changed("key: [carrier", "key: [tailnum"),
            "m.yaml: rows: key column 'tailnum' may not be missing: write its type without '?'.",
        ),
        (
            changed("take: {plane_year: year", "take: {plane_yer: year"),
            "m.yaml: rows: lookups names 'plane_yer', which rows.columns does not have.",
        ),
        (changed("numeric: [distance", "numeric: [carrier, distance"), "m.yaml: features: 'carrier' is named twice."),
        (
            changed(
                "numeric: [distance, scheduled_minute, scheduled_block, weekday, plane_age, seats]", "numeric: []"
            ).replace("categorical: [carrier, origin, dest]", "categorical: []"),
            "m.yaml: features: at least one numeric or categorical feature is needed.",
        ),
        (changed("edges: [500, 1000", "edges: [1000, 500"), "m.yaml: slices.1: edges must ascend without repetition."),
        (
            changed("column: carrier}", "column: carier}"),
            "m.yaml: slice 'carrier' names 'carier', neither a column nor a feature.",
        ),
        (
            changed("{name: carrier, column: carrier}", "{name: carrier, column: carrier, edges: [1, 2]}"),
            "m.yaml: slice 'carrier' has edges, and its column 'carrier' is a text.",
        ),
        (
            changed("baseline_by: [origin", "baseline_by: [orign"),
            "m.yaml: gate.baseline_by names 'orign', which rows.columns does not have.",
        ),
        (
            changed("column: air_time", "column: distance"),
            "m.yaml: label column 'distance' is in rows.columns too: the model would see the answer.",
        ),
        (
            changed("delay_days: 1", "above: 15"),
            "m.yaml: label: 'above' is for a binary label: write 'task: binary', or leave it out.",
        ),
        (
            changed("delay_days: 1", "task: binary\n  threshold: 1"),
            "m.yaml: label.threshold: Input should be less than 1. Got 1.",
        ),
        (
            changed("delay_days: 1", "task: ranking"),
            "m.yaml: label.task: Input should be 'regression' or 'binary'. Got 'ranking'.",
        ),
        (
            changed(SOURCE, SQL),
            "m.yaml: source: the query must select one day with the bind parameter :day.",
        ),
        (changed("spec_version: 1", "spec_version: 2"), "m.yaml: spec_version: Input should be 1. Got 2."),
        (
            YAML + "release: {steps: [{name: a, share: 0.5, requests: 1}, {name: b, share: 0.1, requests: 1}]}\n",
            "m.yaml: release: the shares of the steps must rise.",
        ),
        (
            YAML + "release: {steps: [{name: live, share: 0.5, requests: 1}]}\n",
            "m.yaml: release: step names must be unique and none of approve, bake, live, release, rollback.",
        ),
        (
            changed("first_day: 2013-01-01", "first_day: 2013-02-31"),
            "m.yaml: has a value that YAML cannot read: day is out of range for month. Mend it.",
        ),
        (
            "name: [",
            "m.yaml: line 1: is not YAML: expected the node content, but found '<stream end>'. Mend the syntax.",
        ),
        ("- a list", "m.yaml: must hold a mapping of sections. Got list."),
        ("", "m.yaml: must hold a mapping of sections. Got NoneType."),
    ],
)
def test_mistake_is_named_with_file_key_and_cure(text: str, message: str) -> None:
    with pytest.raises(SpecError) as told:
        parse_spec(text, "m.yaml")
    assert str(told.value) == message


def test_reserved_step_name_message_names_every_reserved_word() -> None:
    """The release section is written by hand; a word that is added to the reserved ones must show up above."""
    with pytest.raises(SpecError, match="none of approve, bake, live, release, rollback"):
        parse_spec(YAML + "release: {steps: [{name: bake, share: 0.5, requests: 1}]}\n", "m.yaml")


def test_example_models_are_right() -> None:
    found, broken = load_all([ROOT / "include" / "models", ROOT / "tests" / "models"])
    assert broken == []
    assert {"bike_sharing", "flight_air_time", "flight_late"} <= {folder.spec.name for folder in found}


@pytest.mark.parametrize("name", ["flight_air_time", "flight_late"])
def test_spec_survives_its_own_yaml_form(name: str) -> None:
    import yaml

    spec = load_folder(FLIGHTS.with_name(name)).spec
    document = yaml.safe_dump(spec.model_dump(mode="json", by_alias=True))
    assert parse_spec(document, "again") == spec


def folder_with(root: Path, name: str, text: str | bytes, *, suite: bool = True) -> Path:
    path = root / name
    path.mkdir(parents=True)
    (path / "model.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    if suite:
        (path / "suite.yaml").write_text("[]", encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SpecError) as told:
        load_folder(path)
    return str(told.value)


def test_folder_must_bear_the_name_of_the_model(tmp_path: Path) -> None:
    path = folder_with(tmp_path, "other", YAML)
    assert refusal(path) == f"{path}/model.yaml: name: must be the folder's name 'other'. Got 'flight_air_time'."


def test_suite_must_be_in_the_folder(tmp_path: Path) -> None:
    path = folder_with(tmp_path, "flight_air_time", YAML, suite=False)
    expected = f"{path}/model.yaml: validate.suite: no file 'suite.yaml' in the folder. Add it, or name another."
    assert refusal(path) == expected
    outside = folder_with(tmp_path / "b", "flight_air_time", changed("suite: suite.yaml", "suite: ../x/suite.yaml"))
    assert "no file '../x/suite.yaml' in the folder" in refusal(outside)


def test_one_broken_folder_leaves_the_others(tmp_path: Path) -> None:
    folder_with(tmp_path, "flight_air_time", YAML)
    folder_with(tmp_path, "broken", "name: [")
    latin = folder_with(tmp_path, "latin", "owner: José".encode("latin-1"))
    dated = folder_with(tmp_path, "dated", changed("first_day: 2013-01-01", "first_day: 2013-02-31"))
    found, broken = load_all([tmp_path])
    assert [folder.spec.name for folder in found] == ["flight_air_time"]
    assert [str(error) for error in broken] == [
        f"{tmp_path}/broken/model.yaml: line 1: is not YAML: expected the node content, but found '<stream end>'. "
        "Mend the syntax.",
        f"{dated}/model.yaml: has a value that YAML cannot read: day is out of range for month. Mend it.",
        f"{latin}/model.yaml: is not UTF-8. Save it in that encoding.",
    ]


def test_unknown_model_is_answered_with_those_there_are(tmp_path: Path) -> None:
    folder_with(tmp_path, "flight_air_time", YAML)
    assert [path.name for path in folders([tmp_path])] == ["flight_air_time"]
    assert find_folder([tmp_path], "flight_air_time").spec.name == "flight_air_time"
    with pytest.raises(NotFoundError) as told:
        find_folder([tmp_path], "flights")
    assert str(told.value) == (
        f"Model 'flights' has no folder with model.yaml in {tmp_path}. There are: flight_air_time."
    )


def test_fingerprint_follows_spec_and_feature_code_and_not_the_place(tmp_path: Path) -> None:
    first = folder_with(tmp_path / "a", "flight_air_time", YAML)
    moved = folder_with(tmp_path / "b", "flight_air_time", "# a comment\n" + YAML)
    other = folder_with(tmp_path / "c", "flight_air_time", changed("window_days: 28", "window_days: 29"))
    prints = [load_folder(path).fingerprint for path in (first, moved, other)]
    assert prints[0] == prints[1] != prints[2]
    (moved / "features.py").write_text("def x(): ...", encoding="utf-8")
    assert load_folder(moved).fingerprint != prints[1]


def test_paths_of_a_spec_are_relative_absolute_packaged_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEED", "/srv/feed")
    folder = load_folder(folder_with(tmp_path, "flight_air_time", YAML))
    assert folder.resolve("data.csv") == folder.path / "data.csv"
    assert folder.resolve("$FEED/{day}.csv") == Path("/srv/feed/{day}.csv")
    assert folder.resolve("package:pytest/__init__.py") == Path(pytest.__file__)


@pytest.mark.parametrize(
    ("path", "inside"),
    [("suite.yaml", True), ("a/b.yaml", True), ("../b.yaml", False), ("/etc/passwd", False), ("a/../../b", False)],
)
def test_path_inside_the_folder(path: str, inside: bool) -> None:
    assert is_inside(path) is inside


def test_spec_is_immutable() -> None:
    spec: ModelSpec = load_folder(FLIGHTS).spec
    with pytest.raises(ValueError, match="frozen"):
        spec.owner = "me"  # type: ignore[misc]
