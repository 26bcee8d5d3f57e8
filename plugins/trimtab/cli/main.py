"""The command line. Each command imports what it needs when it runs, so that help and mistakes are quick."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from trimtab.cli.numpy_settings import set_up_numpy
from trimtab.cli.release import app as release_app
from trimtab.errors import NotFoundError, RequestError, TrimtabError

if TYPE_CHECKING:
    from trimtab.adapters.stores import Addresses
    from trimtab.cli.topology import Home

PORT = 8000
ROW_SHOWN = 60
"""Characters of a wrong row that a message repeats."""


class _OneLineErrors(TyperGroup):
    """Errors of this package end the command with one red line; anything else is a bug and shows its traceback."""

    def invoke(self, ctx: Any) -> object:
        try:
            return super().invoke(ctx)
        except TrimtabError as error:
            complain(str(error))
            raise typer.Exit(1) from error


app = typer.Typer(
    name="trimtab",
    help="Keeps machine-learning models true while the world drifts.",
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.add_typer(release_app)


def complain(message: str) -> None:
    """One red line on the standard error, without colour where it is not a terminal."""
    typer.secho(message, fg=typer.colors.RED, err=True)


@app.command()
def check(
    model_folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders with a model.yaml; all those of TRIMTAB_MODELS by default.")
    ] = None,
) -> None:
    """Check model folders: spec, expectations, feature code, estimators and source."""
    from trimtab.adapters.model_folder import folders
    from trimtab.cli.check import inspect_folder, show

    chosen = list(model_folders or folders(_model_search()))
    if not chosen:
        raise NotFoundError(f"There is no model folder in {', '.join(map(str, _model_search()))}. Name one.")
    reports = [inspect_folder(folder, os.environ) for folder in chosen]
    show(reports)
    for report in reports:
        for problem in report.problems:
            complain(problem)
    raise typer.Exit(int(any(report.problems for report in reports)))


@app.command()
def profile(
    data: Annotated[Path, typer.Argument(help="Parquet file.")],
    output: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("reference.json"),
) -> None:
    """Count a reference once and freeze its profile, for `trimtab drift`."""
    set_up_numpy()
    from trimtab.cli.drift_table import freeze, write_frozen

    write_frozen(freeze(data), output)
    typer.echo(f"Profile of {data} is in {output}.")


@app.command()
def drift(
    reference: Annotated[Path, typer.Argument(help="Frozen profile (JSON) or Parquet file.")],
    current: Annotated[Path, typer.Argument(help="Parquet file.")],
) -> None:
    """Show how far each column of a Parquet file has drifted, beside what chance alone gives."""
    set_up_numpy()
    from trimtab.cli.drift_table import drift_table

    typer.echo(drift_table(reference, current))


@app.command()
def migrate() -> None:
    """Bring the ledger's database to the newest schema."""
    from trimtab.adapters.ledger_schema import migrate as migrate_ledger
    from trimtab.adapters.sql_ledger import open_engine

    engine = open_engine(_addresses().ledger)
    migrate_ledger(engine)
    typer.echo(f"Ledger {engine.url.render_as_string(hide_password=True)} is up to date.")


@app.command()
def serve(
    host: Annotated[str, typer.Option(envvar="TRIMTAB_SERVE_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="TRIMTAB_SERVE_PORT", help="Port to listen on.")] = PORT,
    tokens: Annotated[
        Path | None, typer.Option(envvar="TRIMTAB_TOKENS", help="File with SHA-256 and scopes of each token.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, envvar="TRIMTAB_SERVE_WORKERS", help="Processes that answer on the port.")
    ] = 1,
) -> None:
    """Run the prediction service until it is asked to stop."""
    from trimtab.serving.server import run

    run(_addresses(), tokens or _home().tokens_file, host=host, port=port, workers=workers)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    rows: Annotated[
        list[str] | None, typer.Argument(help="Rows, each a JSON object; lines of the standard input by default.")
    ] = None,
    url: Annotated[
        str, typer.Option(envvar="TRIMTAB_URL", help="Prediction service; that of `trimtab up` by default.")
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="TRIMTAB_TOKEN_FILE", help="File with the token; that of `trimtab up` by default."),
    ] = None,
) -> None:
    """Ask the prediction service, and print its answer as JSON; ends with 1 if a row cannot be predicted."""
    from trimtab.serving.client import PredictionClient

    parsed = _parse_rows(rows or sys.stdin.read().splitlines())
    with PredictionClient(url or f"http://127.0.0.1:{_home().ports.serving}", _token(token_file)) as client:
        answer = client.predict(model, parsed)
    typer.echo(answer.model_dump_json(indent=2))
    waits = sum(row.waits for row in answer.predictions)
    if waits:
        typer.echo(f"A person decides about {waits} of {len(answer.predictions)} rows.", err=True)
    for problem in answer.problems:
        complain(str(problem))
    if answer.problems:
        raise typer.Exit(1)


@app.command()
def up() -> None:
    """Start Airflow, MLflow and the prediction service on this machine, and run them until Ctrl-C."""
    from trimtab.cli.processes import Supervisor

    home = _home()
    with Supervisor(home) as supervisor:
        try:
            supervisor.start()
            supervisor.wait_ready()
            _show_addresses(home)
            supervisor.watch()
        except KeyboardInterrupt:
            typer.echo("Stopping.", err=True)


@app.command()
def down() -> None:
    """End what `trimtab up` or `trimtab demo` has started, even if it was killed."""
    from trimtab.cli.processes import end_recorded
    from trimtab.cli.topology import Home

    home = _home()
    ended = [name for each in (home, Home(home.path / "demo")) for name in end_recorded(each)]
    typer.echo(f"Ended: {', '.join(ended)}." if ended else "Nothing was running.")


@app.command()
def demo(
    *,
    hands_on: Annotated[
        bool, typer.Option("--hands-on", envvar="HANDS_ON", help="Wait for you to approve the release in Airflow.")
    ] = False,
    stay: Annotated[
        bool, typer.Option("--stay/--no-stay", help="Keep the servers running at the end, until Ctrl-C.")
    ] = True,
) -> None:
    """Show a year's life of a model on recorded flights: decay, retraining, and a guarded release."""
    from trimtab.cli.demo import run_demo

    run_demo(hands_on=hands_on, stay=stay)


@app.command()
def replay(
    model_folder: Annotated[Path, typer.Argument(help="Folder with a model.yaml.")],
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day that is scored.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day.")],
    *,
    policy: Annotated[
        list[str] | None,
        typer.Option(help="A file, or static, weekly, monthly, triggered or guarded; may be given again."),
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Folder for everything that is written; in the cache.")] = None,
    warm_up: Annotated[
        int | None, typer.Option(min=1, help="Days before --from that are loaded; all that the source has, up to 365.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that work side by side.")] = os.cpu_count() or 1,
    log_to_mlflow: Annotated[
        str, typer.Option(envvar="TRIMTAB_REGISTRY", help="MLflow server that gets a run for each policy.")
    ] = "",
) -> None:
    """Live a recorded past again under several retraining policies, and compare what they come to."""
    from trimtab.cli.replay import plan_replay, run_replay

    planned = plan_replay(model_folder, first.date(), last.date(), policies=policy or (), work=work, warm_up=warm_up)
    run_replay(planned, jobs=jobs, mlflow=log_to_mlflow)


@app.command()
def drill(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Recorded day; by default the last with labels.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Name of a drill; may be given again. All by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same faults.")] = 0,
) -> None:
    """Break a recorded day in every known way, and show what the verdict and triage would say. Nothing is written."""
    from trimtab.adapters.stores import Stores
    from trimtab.cli.check import uri_of
    from trimtab.cli.drill import run_drills, show

    show(run_drills(Stores(_addresses(), model, uri_of(os.environ)), day.date() if day else None, only or (), seed))


@app.command()
def skew(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    first: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="First day of the rows.")],
    last: Annotated[
        datetime | None, typer.Argument(formats=["%Y-%m-%d"], help="Last day; the first by default.")
    ] = None,
) -> None:
    """Compare features as they were served with those of the batches, by key; exit code 1 if some differ."""
    from trimtab.adapters.stores import Stores
    from trimtab.cli.skew import skew_table
    from trimtab.stages.skew_audit import audit_skew

    stores = Stores(_addresses(), model, str)
    report = audit_skew(first.date(), (last or first).date(), lake=stores.lake, registry=stores.registry)
    typer.echo(skew_table(report))
    raise typer.Exit(int(report.differing > 0))


@app.command()
def automation(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    level: Annotated[
        str, typer.Argument(help="human, shadow, assist, partial or full; without it, what holds is shown.")
    ] = "",
    *,
    of: Annotated[str, typer.Option("--slice", help="Rows that it holds for, such as 'carrier=UA'.")] = "all",
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "by hand",
    capacity: Annotated[
        float | None, typer.Option(min=0, help="For 'partial': rows that people can review in a day.")
    ] = None,
) -> None:
    """Say who decides, the model or a person, and show it."""
    import getpass

    from trimtab.adapters.sql_ledger import utc_now
    from trimtab.cli.automation import change
    from trimtab.cli.release import open_stores

    stores, today = open_stores(model), utc_now().date()
    actor = getpass.getuser()
    typer.echo(change(stores, level, of=of, actor=actor, reason=reason, capacity=capacity, today=today))


@app.command()
def queue(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print all cases as JSON.")] = False,
) -> None:
    """List the rows about which a person has to decide, the oldest first."""
    from trimtab.cli import review
    from trimtab.cli.release import open_stores

    cases = review.cases_of(open_stores(model))
    if as_json:
        typer.echo(review.as_json(cases))
    else:
        review.show(cases)


def _home() -> "Home":
    from trimtab.cli.topology import Home

    return Home.from_environment(os.environ)


def _addresses() -> "Addresses":
    """Those of the environment, or, if it says nothing, those of `trimtab up`: never a mixture of both."""
    from trimtab.adapters.stores import Addresses
    from trimtab.cli.topology import variables_of

    return Addresses.from_environment(variables_of(os.environ))


def _model_search() -> list[Path]:
    from trimtab.cli.topology import MODELS

    return [Path(part) for part in os.environ.get("TRIMTAB_MODELS", str(MODELS)).split(":")]


def _token(file: Path | None) -> str:
    if file is None:
        return _home().secret("prediction_token")
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise NotFoundError(f"Token file {file} cannot be read ({exc.strerror}). Mend the path.") from exc


def _parse_rows(texts: Sequence[str]) -> list[dict[str, float | str | None]]:
    rows = [_parse_row(text) for text in texts if text.strip()]
    if not rows:
        raise RequestError("No row was given. Write each as a JSON object, such as '{\"distance\": 1400}'.")
    return rows


def _parse_row(text: str) -> dict[str, float | str | None]:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as exc:
        raise RequestError(f"Row {text[:ROW_SHOWN]!r} is not JSON: {exc}. Mend it.") from exc
    if not isinstance(row, dict):
        raise RequestError(f"Row {text[:ROW_SHOWN]!r} must be a JSON object, a value for each column.")
    return row


def _show_addresses(home: "Home") -> None:
    from rich.console import Console
    from rich.table import Table

    from trimtab.cli.topology import AIRFLOW_USER, HOST, MLFLOW_USER

    ports, table = home.ports, Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "address", "user", "password"):
        table.add_column(heading, style="bold" if not heading else "", overflow="fold")
    airflow_password, mlflow_password = home.secret("airflow_admin_password"), home.secret("mlflow_admin_password")
    table.add_row("Airflow", f"http://{HOST}:{ports.airflow}", AIRFLOW_USER, airflow_password)
    table.add_row("MLflow", f"http://{HOST}:{ports.mlflow}", MLFLOW_USER, mlflow_password)
    table.add_row("Predictions", f"http://{HOST}:{ports.serving}/docs", "any", f"the token in {home.token_file}")
    console = Console()
    console.print(table)
    console.print(f"Logs are in {home.logs}. Ctrl-C ends everything.")
