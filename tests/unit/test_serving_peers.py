"""What workers tell each other, and what the metrics make of it."""

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from trimtab.serving.model_server import ModelServer
from trimtab.serving.peers import Peers, resident_bytes
from trimtab.serving.telemetry import Loaded
from unit.serving_doubles import MODEL, Service, new_service

NOBODY = 2**22 + 1
"""No process has this id: Linux stops at 2^22."""


@pytest.fixture
def service(tmp_path: Path) -> Service:
    made = new_service(tmp_path)
    made.go_live("1")
    made.step("2", 0.25)
    made.server.refresh()
    return made


def told_by_another(folder: Path, models: dict[str, ModelServer], pid: int) -> None:
    """A file as another worker would leave it."""
    Peers(models, folder).tell()
    (folder / f"{os.getpid()}.state").rename(folder / f"{pid}.state")


def lines(peers: Peers) -> list[str]:
    registry = CollectorRegistry()
    registry.register(Loaded(peers))
    return generate_latest(registry).decode().splitlines()


def test_one_worker_speaks_for_itself(service: Service) -> None:
    found = lines(Peers({MODEL: service.server}, None))
    assert f'trimtab_model_loaded{{model_name="{MODEL}",model_version="2",role="challenger"}} 1.0' in found
    assert f'trimtab_challenger_share{{model_name="{MODEL}"}} 0.25' in found
    assert "trimtab_workers 1.0" in found


def test_metrics_are_about_all_workers_that_are_alive(service: Service, tmp_path: Path) -> None:
    models = {MODEL: service.server}
    for pid in (os.getppid(), NOBODY):
        told_by_another(tmp_path, models, pid)
    before = service.server.state.routing
    service.move("2", "rolled_back")
    service.go_live("3")
    service.server.refresh()
    found = lines(Peers(models, tmp_path))
    named = f'model_name="{MODEL}"'
    for line in (
        f'trimtab_model_loaded{{{named},model_version="1",role="champion"}} 1.0',
        f'trimtab_model_loaded{{{named},model_version="3",role="champion"}} 1.0',
        f"trimtab_routing_sequence{{{named}}} {before}.0",
        f"trimtab_challenger_share{{{named}}} 0.25",
        f"trimtab_following{{{named}}} 1.0",
        "trimtab_workers 2.0",
    ):
        assert line in found


def test_worker_that_cannot_follow_shows(service: Service, tmp_path: Path) -> None:
    told_by_another(tmp_path, {MODEL: service.server}, os.getppid())
    service.ledger.down = True
    service.server.refresh()
    found = lines(Peers({MODEL: service.server}, tmp_path))
    assert f'trimtab_following{{model_name="{MODEL}"}} 0.0' in found
    assert f'trimtab_refresh_failures_total{{model_name="{MODEL}"}} 1.0' in found


def test_news_is_written_and_nothing_else(service: Service, tmp_path: Path) -> None:
    peers = Peers({MODEL: service.server}, tmp_path)
    peers.tell()
    file = tmp_path / f"{os.getpid()}.state"
    file.unlink()
    peers.tell()
    assert not file.exists()
    service.move("2", "rolled_back")
    service.server.refresh()
    peers.tell()
    assert file.exists()


def test_memory_of_a_process() -> None:
    assert resident_bytes(os.getpid()) > 10 * 2**20
    assert resident_bytes(NOBODY) == 0
