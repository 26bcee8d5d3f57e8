"""`trimtab automation`: who decides, the model or a person."""

from collections.abc import Mapping
from datetime import date

from trimtab.adapters.stores import Stores
from trimtab.domain.automation import ALL, Automation, automations
from trimtab.stages.automation import set_level


def described(known: Mapping[str, Automation]) -> str:
    """A line for each slice that has a level."""
    lines = [
        f"{name}: {one.level}{f' below {one.sureness:.3g} sure' if one.level == 'partial' else ''}, "
        f"by {one.actor}: {one.reason}"
        for name, one in sorted({ALL: Automation(actor="nobody"), **known}.items())
    ]
    return "\n".join(lines)


def change(stores: Stores, level: str, *, of: str, actor: str, reason: str, capacity: float | None, today: date) -> str:
    """Set the level, if one is given, and show what holds."""
    if level:
        days = stores.lake.days("batches")
        set_level(
            level,
            actor=actor,
            reason=reason,
            as_of=days[-1] if days else today,
            ledger=stores.ledger,
            lake=stores.lake,
            task=stores.folder.spec.label.task,
            of=of,
            capacity=capacity,
        )
    return described(automations(stores.ledger.entries("automation")))
