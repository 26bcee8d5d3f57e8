"""`trimtab automation`: who decides, the model or a person, and how far both agree."""

from collections.abc import Mapping, Sequence
from datetime import date

from trimtab.adapters.stores import Stores
from trimtab.domain.automation import ALL, Automation, automations
from trimtab.stages.automation import set_level
from trimtab.stages.review import Agreement, agreements, referred


def described(known: Mapping[str, Automation], agreed: Sequence[Agreement] = ()) -> str:
    """A line for each slice that has a level, and for each level at which people have decided."""
    levels = [
        f"{name}: {one.level}{f' below {one.sureness:.3g} sure' if one.level == 'partial' else ''}, "
        f"by {one.actor}: {one.reason}"
        for name, one in sorted({ALL: Automation(actor="nobody"), **known}.items())
    ]
    return "\n".join([*levels, *map(_agreement, agreed)])


def change(stores: Stores, level: str, *, of: str, actor: str, reason: str, capacity: float | None, today: date) -> str:
    """Set the level, if one is given, and show what holds."""
    spec = stores.folder.spec
    if level:
        days = stores.lake.days("batches")
        set_level(
            level,
            actor=actor,
            reason=reason,
            as_of=days[-1] if days else today,
            ledger=stores.ledger,
            lake=stores.lake,
            label=spec.label,
            rows=spec.rows,
            slices=spec.slices,
            features=stores.features,
            part=spec.release.traffic,
            of=of,
            capacity=capacity,
        )
    cases = referred(lake=stores.lake, logs=stores.logs, part=spec.release.traffic)
    return described(automations(stores.ledger.entries("automation")), agreements(cases, spec.label))


def _agreement(one: Agreement) -> str:
    said = f"{one.decided} decided, {one.waiting} wait"
    if one.share is not None:
        said += f"; people decided as the model would have in {one.share:.1%}"
    if one.difference is not None:
        said += f"; people and model are {one.difference:.3g} apart on average"
    return f"version {one.version} at {one.level}: {said}"
