"""What a verdict means: a bug in the data, a harmless shift, or a world that has changed; and what to do about it.

A pure function of profiles, findings and what validation has set aside. Broken data is looked for first; only then is a
shift named.
"""

from trimtab.domain.broken_data import SIGNS
from trimtab.domain.diagnosis import Advice, Evidence, Kind, Triage
from trimtab.domain.shifts import shift


def triage(evidence: Evidence) -> Triage:
    """Name what has happened, and say what to do."""
    for sign in SIGNS:
        found = sign(evidence)
        if found:
            bug, reasons = found
            return Triage(kind=Kind.DATA_BUG, bug=bug, sudden=True, advice=Advice.QUARANTINE, reasons=tuple(reasons))
    return shift(evidence)
