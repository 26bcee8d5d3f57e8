"""`trimtab release`, on stores in one folder."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from doubles import FLIGHTS, tiny_training
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.replay_stores import FolderStores
from trimtab.cli import release as command
from trimtab.cli.main import app
from trimtab.errors import RegistryUnavailableError
from trimtab.stages import release as releasing

DAY = date(2013, 3, 1)


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStores:
    """Version 1 is champion, version 2 has gone live after it."""
    found = FolderStores(load_folder(FLIGHTS), tmp_path, str)
    assert isinstance(found.registry, FolderRegistry)
    writes: dict[str, Any] = {"as_of": DAY, "ledger": found.ledger, "registry": found.registry}
    for version in ("1", "2"):
        found.registry.register(found.registry.log_training(tiny_training(int(version))).run_id, {})
        releasing.request_release(version, **writes, reason="because")
        releasing.answer_release(version, **writes, approved=True, actor="ann", comment="go")
        releasing.go_live(version, **writes, reason="passed", lake=found.lake, rows=found.folder.spec.rows)
        if version == "1":
            releasing.finish_release(version, **writes, reasons=["baked"])
    monkeypatch.setattr(command, "open_stores", lambda _: found)
    monkeypatch.setenv("LOGNAME", "berta")
    return found


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["release", *arguments])
    return result.exit_code, result.output


def test_status_shows_what_answers_and_how_it_came_to(stores: FolderStores) -> None:
    code, said = run("status", "flight_air_time")
    assert code == 0
    lines = said.splitlines()
    assert lines[0] == "champion: 2"
    assert [line.partition("  ")[2] for line in lines[1:4]] == [
        "version 2 requested: because",
        "version 2 approved by ann: go",
        "version 2 live: passed",
    ]
    assert lines[4:] == ["guards: wait", "  0 of 3 labelled days seen"]


def test_release_is_held_resumed_and_rolled_back_in_the_name_of_who_asks(stores: FolderStores) -> None:
    assert run("hold", "flight_air_time", "--reason", "lunch") == (0, "Release of version 2 is held where it is.\n")
    assert "held by berta" in run("status", "flight_air_time")[1]
    assert run("resume", "flight_air_time") == (0, "Release of version 2 goes on.\n")
    code, said = run("rollback", "flight_air_time", "--reason", "users complain")
    assert (code, said) == (0, "Version 2 is rolled back; version 1 has no golden row to compare.\n")
    entries = stores.ledger.entries("release")
    assert [(one.kind, one.payload.get("actor")) for one in entries[-4:]] == [
        ("held", "berta"),
        ("resumed", "berta"),
        ("rolled_back", "berta"),
        ("verified", None),
    ]
    assert run("status", "flight_air_time")[1].startswith("champion: 1\n")


def test_champion_can_be_rolled_back_long_after_its_release(stores: FolderStores) -> None:
    """As after an incident: no release is on its way, and the champion is what is gone back from."""
    writes: dict[str, Any] = {"as_of": DAY, "ledger": stores.ledger, "registry": stores.registry}
    releasing.finish_release("2", **writes, reasons=["baked"])
    for _ in range(2):
        said = run("rollback", "flight_air_time", "--reason", "incident")[1]
        assert said.startswith("Version 2 is rolled back"), "the same again goes no further back"
    assert run("rollback", "flight_air_time", "--reason", "the other is as bad")[1] == (
        "Version 1 is rolled back; no version is live.\n"
    )
    code, said = run("rollback", "flight_air_time", "--reason", "once more")
    assert code == 1
    assert "No version of the model is live or on its way." in said


def test_what_a_release_cannot_do_is_a_line_and_not_a_trace(stores: FolderStores) -> None:
    run("rollback", "flight_air_time", "--reason", "worse", "--version", "2")
    code, said = run("hold", "flight_air_time", "--reason", "late", "--version", "2")
    assert code == 1
    assert said == (
        "Release of version 2 is 'rolled_back' and cannot become 'held'. It can become nothing: it has ended.\n"
    )


def test_status_of_a_step_says_what_its_guards_still_need(stores: FolderStores) -> None:
    writes: dict[str, Any] = {"as_of": DAY, "ledger": stores.ledger, "registry": stores.registry}
    releasing.finish_release("2", **writes, reasons=["baked"])
    releasing.request_release("1", **{**writes, "as_of": date(2013, 4, 1)}, reason="it was better")
    releasing.answer_release("1", **writes, approved=True, actor="ann", comment="go")
    step = stores.folder.spec.release.steps[0]
    releasing.begin_step("1", step, **writes, traffic=stores.traffic)
    lines = run("status", "flight_air_time")[1].splitlines()
    assert lines[1] == "challenger: 1, 0% of the traffic"
    assert "guards: wait" in lines
    assert f"  failures: 0 of 0 rows failed, 0 of 0 of the champion; {step.requests} more are needed" in lines


def test_rollback_holds_although_the_registry_does_not_answer(
    stores: FolderStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RegistryUnavailableError("No answer.")

    monkeypatch.setattr(stores.registry, "mirror", fails)
    code, said = run("rollback", "flight_air_time", "--reason", "worse")
    assert code == 1
    assert said.startswith("The ledger says that version 2 is rolled back, and services follow it.")
    monkeypatch.undo()
    monkeypatch.setattr(command, "open_stores", lambda _: stores)
    monkeypatch.setenv("LOGNAME", "berta")
    assert run("rollback", "flight_air_time", "--reason", "worse")[1].startswith("Version 2 is rolled back; version 1")


def test_release_that_nobody_has_approved_yet_is_not_in_the_way_of_a_rollback(stores: FolderStores) -> None:
    """An incident has led to a retraining, whose release waits for its yes, and the champion is as bad as it was."""
    writes: dict[str, Any] = {"as_of": DAY, "ledger": stores.ledger, "registry": stores.registry}
    releasing.finish_release("2", **writes, reasons=["baked"])
    releasing.request_release("1", **{**writes, "as_of": date(2013, 4, 1)}, reason="it was better")
    assert run("rollback", "flight_air_time", "--reason", "incident")[1].startswith("Version 2 is rolled back")
