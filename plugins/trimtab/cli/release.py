"""`trimtab release`: what a person on call sees of a release, and does about it."""

import getpass
import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trimtab.adapters.stores import Stores

app = typer.Typer(
    name="release", help="See, hold, resume and roll back releases.", no_args_is_help=True, add_completion=False
)

Model = Annotated[str, typer.Argument(help="Name of the model.")]
Reason = Annotated[str, typer.Option(help="Why, for the ledger.")]
Version = Annotated[
    str, typer.Option(help="Which version; by default the one that is on its way, or else the champion.")
]


@app.command()
def status(model: Model) -> None:
    """Show which versions answer, and every step of the newest release."""
    typer.echo(described(open_stores(model)))


@app.command()
def hold(model: Model, reason: Reason, version: Version = "") -> None:
    """Leave a release where it is, with its share of the traffic, until it is resumed or rolled back."""
    _act("hold", model, reason, version)


@app.command()
def resume(model: Model, reason: Reason = "by hand", version: Version = "") -> None:
    """Let a release that is held go on."""
    _act("resume", model, reason, version)


@app.command()
def rollback(model: Model, reason: Reason, version: Version = "") -> None:
    """Return to the champion before, and check golden rows of it."""
    _act("rollback", model, reason, version)


def open_stores(model: str) -> "Stores":
    """The ports of a model, at the addresses of the environment or of `trimtab up`."""
    from trimtab.adapters.stores import Addresses, Stores
    from trimtab.cli.check import uri_of
    from trimtab.cli.topology import variables_of

    return Stores(Addresses.from_environment(variables_of(os.environ)), model, uri_of(os.environ))


def described(stores: "Stores") -> str:
    """The routing, and the entries of the newest release, a line each."""
    from trimtab.domain.release import own_entries, releases, routing

    entries = stores.ledger.entries("release")
    route, known = routing(entries), releases(entries)
    if not known:
        return "No version has been released."
    lines = [f"champion: {route.champion or 'none'}"]
    if route.challenger:
        lines.append(f"challenger: {route.challenger}, {route.share:.0%} of the traffic")
    newest = list(known.values())[-1]
    if newest.held_by:
        lines.append(f"held by {newest.held_by}")
    for entry in own_entries(newest, entries):
        step, actor = entry.payload.get("step"), entry.payload.get("actor")
        words = " ".join(str(word) for word in (entry.kind, step, f"by {actor}" if actor else None) if word)
        moment = entry.recorded_at.isoformat(sep=" ", timespec="seconds")
        lines.append(f"{moment}  version {entry.subject} {words}: {entry.payload.get('reason', '')}")
    return "\n".join([*lines, *_said_by_guards(stores)])


def _said_by_guards(stores: "Stores") -> tuple[str, ...]:
    """What the guards of the present step would say now, with what they still need."""
    from trimtab.stages.release import watch_present

    spec = stores.folder.spec
    report = watch_present(
        spec=spec.release, label=spec.label, ledger=stores.ledger, traffic=stores.traffic, lake=stores.lake
    )
    return (f"guards: {report.outcome}", *(f"  {reason}" for reason in report.reasons)) if report else ()


def _act(action: str, model: str, reason: str, version: str) -> None:
    from trimtab.adapters.sql_ledger import utc_now
    from trimtab.stages.intervene import intervene

    stores = open_stores(model)
    said = intervene(
        action,
        actor=getpass.getuser(),
        reason=reason,
        version=version,
        ledger=stores.ledger,
        registry=stores.registry,
        lake=stores.lake,
        rows=stores.folder.spec.rows,
        clock=utc_now,
    )
    typer.echo(said)
