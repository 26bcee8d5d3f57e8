"""What a person on call does about a release: hold it, let it go on, or go back to the champion before."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Literal, TypeAlias, get_args

from trimtab.domain.journal import Ledger
from trimtab.domain.ports import Lake, Registry
from trimtab.domain.release import Release, releases, routing
from trimtab.domain.spec import RowsSpec
from trimtab.errors import NotFoundError, RegistryUnavailableError, RequestError
from trimtab.stages.release import business_day, hold_release, resume_release, roll_back, verify_rollback

Action: TypeAlias = Literal["rollback", "hold", "resume"]


def intervene(
    action: str,
    *,
    actor: str,
    reason: str,
    version: str = "",
    ledger: Ledger,
    registry: Registry,
    lake: Lake,
    rows: RowsSpec,
    clock: Callable[[], datetime],
) -> str:
    """Do it, and say in a sentence what has come of it; the same rollback again changes nothing.

    Args:
        action: One of `Action`.
        actor: Who asks for it.
        reason: Why, for the ledger.
        version: Which release; empty: the one that is on its way, or else that of the champion.
        ledger: Journal of the model.
        registry: Models.
        lake: Rows, for the golden ones.
        rows: What a row is.
        clock: Gives the present moment in UTC.

    Raises:
        RequestError: If there is no such action.
        NotFoundError: If there is no release.
        TransitionError: If the release cannot do that now.
    """
    if action not in get_args(Action):
        raise RequestError(f"There is no action {action!r}. There are: {', '.join(get_args(Action))}.")
    version = version or _rolled_back_by(actor, reason, action, ledger) or version_in_question(ledger)
    as_of = business_day(lake, date.min)
    as_of = as_of if as_of > date.min else clock().date()
    if action == "hold":
        hold_release(version, as_of=as_of, actor=actor, reason=reason, ledger=ledger, registry=registry)
        return f"Release of version {version} is held where it is."
    if action == "resume":
        resume_release(version, as_of=as_of, actor=actor, reason=reason, ledger=ledger, registry=registry)
        return f"Release of version {version} goes on."
    try:
        roll_back(version, as_of=as_of, actor=actor, reason=reason, ledger=ledger, registry=registry)
        found = verify_rollback(
            version, as_of=as_of, ledger=ledger, registry=registry, lake=lake, rows=rows, clock=clock
        )
    except RegistryUnavailableError as exc:
        raise RegistryUnavailableError(
            f"The ledger says that version {version} is rolled back, and services follow it. The registry does not, "
            f"and nothing was checked ({exc}). Do the same again when it answers."
        ) from exc
    words = f"Version {version} is rolled back"
    return f"{words}; {found.sentence}." if found else f"{words}; no version is live."


def _rolled_back_by(actor: str, reason: str, action: str, ledger: Ledger) -> str:
    """The version that this very rollback, made before, was about; empty if the newest entry is about something else.

    Otherwise a task that is tried again, or a person who is not sure, would go back one version further.
    """
    entries = [entry for entry in ledger.entries("release") if entry.kind != "verified"]
    made = entries[-1:] if action == "rollback" else []
    said = ("rolled_back", actor, reason)
    same = [one.subject for one in made if (one.kind, one.payload.get("actor"), one.payload.get("reason")) == said]
    return same[0] if same else ""


def version_in_question(ledger: Ledger) -> str:
    """The version whose release is on its way and approved, or else the champion.

    Raises:
        NotFoundError: If there is neither.
    """
    entries = ledger.entries("release")
    on_its_way = next((one.version for one in releases(entries).values() if _is_moving(one)), None)
    version = on_its_way or routing(entries).champion
    if version is None:
        raise NotFoundError("No version of the model is live or on its way. There is nothing to act on.")
    return version


def _is_moving(release: Release) -> bool:
    return release.is_open and release.state != "requested"
