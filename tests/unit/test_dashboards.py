"""What dashboard and alert rules ask Prometheus for is what the service offers."""

import errno
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from unit.serving_doubles import MODEL, Service, client, flights, new_service

FOLDER = Path(__file__).parents[2] / "include" / "dashboards"
OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds to what it scrapes."""

Offered = Mapping[str, Mapping[str, set[str]]]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "serving.json").read_text())
    return found


def panel_queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def queries() -> list[str]:
    return [*panel_queries(), *(rule["expr"] for rule in rules())]


async def scrape(service: Service) -> str:
    """The metrics after a champion, a challenger and a shadow have answered."""
    async with client(service.app()) as http:
        for share in (0.5, 0.0):
            service.step("2", share, request=share > 0)
            service.server.refresh()
            answer = await http.post(f"/models/{MODEL}/predict", json={"rows": flights(40)})
            assert answer.status_code == 200
        with anyio.fail_after(10):
            while 'arm="shadow"' not in (text := (await http.get("/metrics")).text):  # noqa: ASYNC110  # nobody tells
                await anyio.sleep(0.02)
    return text


def served(path: Path) -> Service:
    made = new_service(path)
    made.go_live("1")
    made.server.refresh()
    return made


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Offered:
    """Values of each label of each series."""
    service = served(tmp_path_factory.mktemp("offered"))
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(anyio.run(scrape, service)):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def test_every_series_that_is_asked_for_is_offered(offered: Offered) -> None:
    asked = {name for query in queries() for name in re.findall(r"\b(?:trimtab|process)_\w+", query)}
    assert len(asked) > 10
    assert asked - set(offered) == set()


def test_every_label_that_is_asked_for_is_one_of_its_series(offered: Offered) -> None:
    for query in queries():
        for name, matchers in re.findall(r"\b(trimtab_\w+)\{(.*?)\}", query):
            labels = set(re.findall(r"(\w+)\s*[=!]~?=?", matchers))
            assert labels - set(offered[name]) - OF_PROMETHEUS == set(), query
        names = re.findall(r"\btrimtab_\w+", query)
        known = {label for name in names for label in offered[name]} | OF_PROMETHEUS
        for grouping in re.findall(r"(?:by|on) \((.*?)\)", query) if names else ():
            assert set(grouping.split(", ")) - known == set(), query


@pytest.mark.parametrize("label", ["arm", "role", "outcome", "le"])
def test_every_value_that_is_asked_for_occurs(label: str, offered: Offered) -> None:
    known = {value for labels in offered.values() for value in labels.get(label, ())}
    asked = {value for query in queries() for value in re.findall(rf'\b{label}="(.*?)"', query)}
    assert asked - known == set()


def test_every_metric_of_the_service_is_shown(offered: Offered) -> None:
    shown = {
        name.removesuffix("_bucket").removesuffix("_count")
        for q in panel_queries()
        for name in re.findall(r"\btrimtab_\w+", q)
    }
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in offered if name.startswith("trimtab_")}
    families -= {name for name in families if f"{name}_total" in offered}  # of the moment a counter began
    assert families - shown == set()


def test_recorded_series_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for query in queries() for name in re.findall(r"\btrimtab:\w+:\w+", query)}
    assert asked == recorded


def test_every_alert_says_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) == 8
    for alert in alerts:
        assert {"summary", "action"} <= set(alert["annotations"])
        assert alert["labels"]["severity"] in {"page", "ticket"}


def test_every_panel_asks_the_data_source_that_is_chosen() -> None:
    found = dashboard()
    assert found["templating"]["list"][0]["type"] == "datasource"
    sources = {target["datasource"]["uid"] for panel in found["panels"] for target in [panel, *panel["targets"]]}
    assert sources == {"${datasource}"}


def test_batch_that_the_log_does_not_take_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = served(tmp_path)

    def full(rows: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def refused() -> str:
        async with client(service.app()) as http:
            series = f'trimtab_log_failures_total{{model_name="{MODEL}"}}'
            assert f"{series} 0.0" in (await http.get("/metrics")).text
            monkeypatch.setattr(service.server._log, "write", full)
            answer = await http.post(f"/models/{MODEL}/predict", json={"rows": flights(1)})
            assert answer.status_code == 503
            assert f"{series} 1.0" in (await http.get("/metrics")).text
        return series

    assert anyio.run(refused)
