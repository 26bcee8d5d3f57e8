"""Wait for the evidence that a release needs to go on."""

from typing import Any

from trimtab.adapters.stores import Stores
from trimtab.triggers.polling import PollTrigger


class StepTrigger(PollTrigger):
    """Fires when the guards of a step have enough traffic to judge.

    Args:
        version: Version that is released.
        step: Name of the step in the spec.
    """

    def __init__(self, *, version: str, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version, self.step = version, step

    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().arguments(), "version": self.version, "step": self.step}

    def is_ready(self, stores: Stores) -> bool:
        """Whether the step can be judged."""
        from trimtab.stages.release import watch_step  # noqa: PLC0415  # only the triggerer needs it

        spec = stores.folder.spec.release
        step = next(step for step in spec.steps if step.name == self.step)
        report = watch_step(self.version, step, spec=spec, ledger=stores.ledger, traffic=stores.traffic)
        return report.outcome != "wait"


class BakeTrigger(PollTrigger):
    """Fires when a live version has met labels on enough days.

    Args:
        version: Version that is released.
    """

    def __init__(self, *, version: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version

    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().arguments(), "version": self.version}

    def is_ready(self, stores: Stores) -> bool:
        """Whether enough labelled days have been seen."""
        from trimtab.stages.release import labelled_days  # noqa: PLC0415

        return len(labelled_days(self.version, stores.ledger)) >= stores.folder.spec.release.bake_days
