"""The commands: what they print, and how they end."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from trimtab.cli.check import uri_of
from trimtab.cli.main import app
from trimtab.cli.topology import MODELS, Home
from trimtab.errors import NotFoundError

FLIGHTS = MODELS / "flight_air_time"
ROWS = """\
year,month,day,carrier,flight,origin,dest,tailnum,sched_dep_time,sched_arr_time,distance,air_time
2013,1,1,UA,1545,EWR,IAH,N14228,515,819,1400,227
2013,1,1,UA,1714,LGA,IAH,N24211,529,830,1416,227
2013,1,1,AA,1141,JFK,MIA,N619AA,540,850,1089,160
"""
PLANES = "tailnum,year,seats\nN14228,1999,149\nN24211,1998,149\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("TRIMTAB_MODELS", "TRIMTAB_LEDGER", "TRIMTAB_URL", "TRIMTAB_TOKEN_FILE", "TRIMTAB_POSTGRES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


def run(*arguments: str | Path, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    commands = ("check", "migrate", "serve", "predict", "up", "down", "demo", "replay")
    assert [name for name in commands if name not in result.output] == []


# --- check


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    """The folder of the flights with a small source of its own."""
    folder = tmp_path / "models" / "flight_air_time"
    shutil.copytree(FLIGHTS, folder)
    (folder / "flights.csv").write_text(ROWS, encoding="utf-8")
    (folder / "planes.csv").write_text(PLANES, encoding="utf-8")
    changed(folder, lambda spec: spec["source"].update(path="flights.csv"))
    changed(folder, lambda spec: spec["rows"]["lookups"][0].update(path="planes.csv"))
    return folder


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "model.yaml"
    spec = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(spec)
    file.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")


def test_a_good_folder_passes(home: Home, flights: Path) -> None:
    result = run("check", flights)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "3 rows" in result.stdout


def test_every_folder_of_the_search_path_is_checked(home: Home, flights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(flights, flights.parent / "other")
    changed(flights.parent / "other", lambda spec: spec.update(name="other"))
    monkeypatch.setenv("TRIMTAB_MODELS", str(flights.parent))
    result = run("check")
    assert result.exit_code == 0
    assert [name for name in ("flight_", "other") if name not in result.stdout] == []


def test_no_folder_at_all_is_an_error(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_MODELS", str(tmp_path))
    result = run("check")
    assert (result.exit_code, result.stderr) == (1, f"There is no model folder in {tmp_path}. Name one.\n")


def test_a_folder_without_a_spec_is_an_error(home: Home, tmp_path: Path) -> None:
    result = run("check", tmp_path)
    assert (result.exit_code, result.stderr) == (1, f"{tmp_path} has no model.yaml. Name a model folder.\n")


def break_spec(folder: Path) -> None:
    changed(folder, lambda spec: spec["gate"].update(margn=0.1))


def break_suite(folder: Path) -> None:
    (folder / "suite.yaml").write_text("- {type: expect_nothing, kwargs: {}, severity: critical}", encoding="utf-8")


def break_feature(folder: Path) -> None:
    changed(folder, lambda spec: spec["features"]["numeric"].append("speed"))


def break_code(folder: Path) -> None:
    (folder / "features.py").write_text("1 / 0", encoding="utf-8")


def break_code_on_rows(folder: Path) -> None:
    changed(folder, lambda spec: spec["features"].update(numeric=["half"]))
    (folder / "features.py").write_text("def half(distance):\n    return distance / none\n", encoding="utf-8")


def break_length(folder: Path) -> None:
    changed(folder, lambda spec: spec["features"].update(numeric=["few"]))
    (folder / "features.py").write_text("def few(distance):\n    return distance[:1]\n", encoding="utf-8")


def break_parameter(folder: Path) -> None:
    changed(folder, lambda spec: spec["train"]["candidates"][0]["estimator"]["params"].update(max_itr=3))


def break_value(folder: Path) -> None:
    changed(folder, lambda spec: spec["train"]["candidates"][0]["estimator"]["params"].update(max_iter=-1))


def break_column(folder: Path) -> None:
    (folder / "flights.csv").write_text(ROWS.replace("distance", "miles"), encoding="utf-8")


def break_label(folder: Path) -> None:
    changed(folder, lambda spec: spec["label"].update(task="binary"))


def break_loss(folder: Path) -> None:
    changed(folder, lambda spec: spec["label"].update(task="binary", above=100))
    changed(folder, lambda spec: spec["train"]["candidates"][0]["estimator"]["params"].update(loss="absolute_error"))


def break_lookup(folder: Path) -> None:
    (folder / "planes.csv").unlink()


def break_day(folder: Path) -> None:
    changed(folder, lambda spec: spec["source"].update(first_day="2014-01-01"))


@pytest.mark.parametrize(
    ("fault", "where", "what"),
    [
        (break_spec, "model.yaml: gate.margn: ", "Did you mean 'margin'?"),
        (break_suite, "suite.yaml: entry 1.type: ", "'expect_nothing'"),
        (break_feature, "features.py: speed: ", "is neither a column of rows.columns nor a function here"),
        (break_code, "features.py: ", "cannot be run: ZeroDivisionError: division by zero. Mend it."),
        (break_code_on_rows, "features.py: ", "fails on the rows of first_day (NameError: name 'none' is not defined)"),
        (break_length, "features.py: few: ", "gives an array of shape (1,). Return one value for each row: (3,)."),
        (break_parameter, "estimator.params.max_itr: ", "may be one of "),
        (break_value, "model.yaml: train.candidates.boosting_28_days.estimator.params: ", "max_iter"),
        (break_column, "flights.csv", "has no column 'distance'"),
        (break_label, "", "Label column 'air_time' must hold 0 and 1. Got "),
        (break_loss, "estimator.params: ", "log_loss"),
        (break_lookup, "planes.csv", "is not there"),
        (break_day, "flights.csv", "has no row of 2014-01-01"),
    ],
)
def test_a_fault_is_one_line_with_file_key_and_cure(
    home: Home, flights: Path, fault: Callable[[Path], None], where: str, what: str
) -> None:
    fault(flights)
    result = run("check", flights)
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert str(flights) in line
    assert where in line
    assert what in line


def test_all_faults_of_a_folder_are_found_at_once(home: Home, flights: Path) -> None:
    for fault in (break_suite, break_code, break_value, break_day):
        fault(flights)
    assert len(run("check", flights).stderr.splitlines()) == 4


def test_the_connection_of_a_source_is_that_of_the_environment() -> None:
    url = "postgresql+psycopg2://me@db/sales"
    for extra in ({"uri": url}, json.dumps({"uri": url})):
        variables = {"AIRFLOW_CONN_SALES": json.dumps({"conn_type": "generic", "extra": extra})}
        assert uri_of(variables)("sales") == url


@pytest.mark.parametrize("value", [None, "generic://", "{}", '{"extra": {}}', '{"extra": null}', "[]"])
def test_a_connection_that_cannot_be_used_is_named(value: str | None) -> None:
    with pytest.raises(NotFoundError, match=r"'sales' has no `extra\.uri` in environment variable AIRFLOW_CONN_SALES"):
        uri_of({} if value is None else {"AIRFLOW_CONN_SALES": value})("sales")


# --- migrate


def test_migrate_makes_the_ledger_and_may_be_repeated(home: Home) -> None:
    home.prepare()
    for _ in range(2):
        result = run("migrate")
        assert (result.exit_code, result.stdout) == (0, f"Ledger sqlite:///{home.path}/ledger.db is up to date.\n")


def test_migrate_without_an_address_says_how_to_get_one(home: Home) -> None:
    result = run("migrate")
    assert result.exit_code == 1
    assert result.stderr.startswith("Environment variable TRIMTAB_MODELS is not set. `trimtab up` ")
    assert len(result.stderr.splitlines()) == 1


# --- predict


class _Service(BaseHTTPRequestHandler):
    """Says what was asked, in the form of an answer."""

    asked: list[tuple[str, str, Any]]

    def do_POST(self) -> None:  # the name that the library calls
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"], body["rows"]))
        one = {"prediction": 227.5, "version": "3", "arm": "champion", "decided_by": "model", "level": "full"}
        left = one | {"prediction": None, "decided_by": "person", "level": "human"}
        far = [place for place, row in enumerate(body["rows"]) if row["distance"] == "far"]
        answer = {
            "request_id": "r1",
            "model": "flight_air_time",
            "predictions": [
                one | dict.fromkeys(one, None) if place in far else left if row["distance"] == 0 else one
                for place, row in enumerate(body["rows"])
            ],
            "problems": [{"row": place, "column": "distance", "problem": "must be a number"} for place in far],
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    asked: list[tuple[str, str, Any]] = []
    with HTTPServer(("127.0.0.1", 0), type("Service", (_Service,), {"asked": asked})) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


Service = tuple[str, list[tuple[str, str, Any]]]


def test_predict_sends_the_rows_and_prints_the_answer(home: Home, service: Service, tmp_path: Path) -> None:
    url, asked = service
    (tmp_path / "token").write_text("s3cret\n", encoding="utf-8")
    rows = ['{"distance": 1400, "carrier": null}', '{"distance": 500}']
    result = run("predict", "flight_air_time", "--url", url, "--token-file", tmp_path / "token", *rows)
    assert result.exit_code == 0
    assert [one["prediction"] for one in json.loads(result.stdout)["predictions"]] == [227.5, 227.5]
    expected = [{"distance": 1400, "carrier": None}, {"distance": 500}]
    assert asked == [("/models/flight_air_time/predict", "Bearer s3cret", expected)]


def test_predict_prints_what_it_got_and_complains_of_the_rows_that_are_not_right(home: Home, service: Service) -> None:
    home.prepare()
    result = run("predict", "flight_air_time", "--url", service[0], '{"distance": "far"}', '{"distance": 500}')
    assert result.exit_code == 1
    assert [one["prediction"] for one in json.loads(result.stdout)["predictions"]] == [None, 227.5]
    assert result.stderr == "row 0: distance must be a number\n"


def test_predict_says_how_many_rows_a_person_decides(home: Home, service: Service) -> None:
    home.prepare()
    result = run("predict", "flight_air_time", "--url", service[0], '{"distance": 0}', '{"distance": 500}')
    assert (result.exit_code, result.stderr) == (0, "A person decides about 1 of 2 rows.\n")


def test_predict_reads_lines_and_takes_the_token_of_the_home(home: Home, service: Service) -> None:
    url, asked = service
    home.prepare()
    result = run("predict", "flight_air_time", "--url", url, stdin='{"distance": 1}\n\n{"distance": 2}\n')
    assert result.exit_code == 0
    assert asked[0][1:] == (f"Bearer {home.secret('prediction_token')}", [{"distance": 1}, {"distance": 2}])


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("{distance: 1}", "Row '{distance: 1}' is not JSON: "),
        ("[1]", "Row '[1]' must be a JSON object, a value for each column."),
        (" ", "No row was given. Write each as a JSON object, such as '{\"distance\": 1400}'."),
    ],
)
def test_predict_refuses_what_is_no_row(home: Home, row: str, complaint: str) -> None:
    home.prepare()
    result = run("predict", "flight_air_time", row)
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith(complaint)


def test_predict_says_which_service_does_not_answer(home: Home) -> None:
    home.prepare()
    result = run("predict", "flight_air_time", "--url", "http://127.0.0.1:1", '{"distance": 1}')
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("Prediction service http://127.0.0.1:1")


def test_predict_says_which_token_file_is_not_there(home: Home, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    result = run("predict", "flight_air_time", "--token-file", missing, '{"distance": 1}')
    expected = f"Token file {missing} cannot be read (No such file or directory). Mend the path.\n"
    assert (result.exit_code, result.stderr) == (1, expected)


# --- down


def test_down_with_nothing_running(home: Home) -> None:
    result = run("down")
    assert (result.exit_code, result.stdout) == (0, "Nothing was running.\n")


def test_a_bug_is_not_hidden(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_home: Home) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr("trimtab.cli.processes.end_recorded", broken)
    with pytest.raises(ZeroDivisionError):
        run("down")
