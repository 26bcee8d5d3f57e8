"""Make a judged training a version of the registered model, whether promoted or refused."""

from collections.abc import Mapping
from types import MappingProxyType

from trimtab.domain.journal import Ledger
from trimtab.domain.ports import Registry
from trimtab.errors import NotFoundError

TAG_LENGTH = 1000


def register(
    run_id: str,
    training_id: str,
    *,
    ledger: Ledger,
    registry: Registry,
    tags: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Register a run with the gate's decision as tags beside others, and return its version.

    Raises:
        NotFoundError: If the gate has not decided on this training.
    """
    decisions = ledger.entries("gate", training_id)
    if not decisions:
        raise NotFoundError(f"The gate has not decided on training {training_id!r}. Run the task 'gate' first.")
    decision = decisions[-1]
    judged = {
        "trimtab.gate": decision.kind,
        # MLflow shows a tag of this name as the description of the version.
        "summary": str(decision.payload["summary"])[:TAG_LENGTH],
        "trimtab.as_of": decision.as_of.isoformat(),
        "trimtab.training_id": training_id,
    }
    return registry.register(run_id, {**tags, **judged})
