"""Measure once in a release what champion and challenger need of memory, for the guard of that name."""

from collections.abc import Sequence

from trimtab.domain.journal import Entry, JsonValue, Ledger, Payload
from trimtab.domain.memory import MemoryEvidence, MemoryUse
from trimtab.domain.ports import Lake, MemoryTrial, Registry
from trimtab.domain.release import Release, known_release, own_entries
from trimtab.domain.spec import GuardsSpec, RowsSpec
from trimtab.errors import MemoryTrialError
from trimtab.stages.frames import columns_of

MEMORY = "memory"
"""Field of a `step` entry."""
ROWS = 1000
"""Of the last accepted day: as many as one request to the prediction service may have."""
TRIES = 2


def measure_memory(
    version: str,
    *,
    guards: GuardsSpec,
    ledger: Ledger,
    registry: Registry,
    lake: Lake,
    rows: RowsSpec,
    trial: MemoryTrial,
) -> Payload:
    """What to keep in the `step` entry that is about to be made; nothing if this release has it already."""
    entries = ledger.entries("release")
    release = known_release(version, entries)
    if guards.memory_ratio is None or isinstance(known_memory(release, entries), MemoryEvidence):
        return {}
    for _ in range(TRIES):
        try:
            return {MEMORY: _measured(release, registry, lake, rows, trial)}
        except MemoryTrialError as exc:
            problem = str(exc)
    return {MEMORY: problem}


def _measured(release: Release, registry: Registry, lake: Lake, rows: RowsSpec, trial: MemoryTrial) -> JsonValue:
    days = lake.days("batches")
    if not days:
        raise MemoryTrialError("no batch was accepted yet that both versions could predict")
    batch = columns_of(lake.read("batches", days[-1], days[-1]).head(ROWS), rows)
    pair = {"champion": release.previous or "", "challenger": release.version}
    found = {name: trial.measure(registry.package(version), batch) for name, version in pair.items()}
    return {name: {"peak": use.peak, "growth": use.growth, "calls": use.calls} for name, use in found.items()}


def known_memory(release: Release, entries: Sequence[Entry]) -> MemoryEvidence | str:
    """What was measured in this release, or why there is nothing; `entries` are those of the release stream."""
    kept = [entry.payload[MEMORY] for entry in own_entries(release, entries) if MEMORY in entry.payload]
    if not kept:
        return "not measured"
    found = kept[-1]
    if not isinstance(found, dict):
        return str(found)
    return MemoryEvidence(champion=_use(found["champion"]), challenger=_use(found["challenger"]))


def _use(content: JsonValue) -> MemoryUse:
    values = {name: float(str(value)) for name, value in content.items()} if isinstance(content, dict) else {}
    return MemoryUse(peak=int(values["peak"]), growth=values["growth"], calls=int(values["calls"]))
