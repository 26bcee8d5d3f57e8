"""Wait for the evidence that a release needs to go on."""

from typing import Any

from trimtab.adapters.stores import Stores
from trimtab.triggers.polling import PollTrigger


class ReleaseTrigger(PollTrigger):
    """Base of the triggers of a release.

    Args:
        version: Version that is released.
    """

    def __init__(self, *, version: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version

    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().arguments(), "version": self.version}


class TurnTrigger(ReleaseTrigger):
    """Fires when no release of another version is on its way."""

    def is_ready(self, stores: Stores) -> bool:
        """Whether it is this version's turn."""
        from trimtab.stages.release import in_the_way  # noqa: PLC0415  # only the triggerer needs it

        return in_the_way(self.version, stores.ledger) is None


class ResumedTrigger(ReleaseTrigger):
    """Fires when nobody holds the release any more."""

    def is_ready(self, stores: Stores) -> bool:
        """Whether it is free."""
        from trimtab.stages.release import release_of  # noqa: PLC0415

        return release_of(self.version, stores.ledger).held_by is None


class StepTrigger(ReleaseTrigger):
    """Fires when the guards of a step can judge it.

    Args:
        version: Version that is released.
        step: Name of the step in the spec.
    """

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step
        self._quality: tuple[int, Any] = (-1, None)

    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().arguments(), "step": self.step}

    def is_ready(self, stores: Stores) -> bool:
        """Whether the guards do not wait any more. The rows of the lake are only read again for new labels."""
        from trimtab.stages.release import watch_step  # noqa: PLC0415
        from trimtab.stages.step_evidence import step_quality  # noqa: PLC0415

        spec, head = stores.folder.spec, stores.ledger.head("feedback")
        step = next(step for step in spec.release.steps if step.name == self.step)
        if head != self._quality[0]:
            self._quality = head, step_quality(self.version, ledger=stores.ledger, lake=stores.lake, label=spec.label)
        report = watch_step(
            self.version,
            step,
            spec=spec.release,
            ledger=stores.ledger,
            traffic=stores.traffic,
            quality=self._quality[1],
        )
        return report.outcome != "wait"


class BakeTrigger(ReleaseTrigger):
    """Fires when a live version has met labels on enough days."""

    def is_ready(self, stores: Stores) -> bool:
        """Whether enough labelled days have been seen."""
        from trimtab.stages.bake import watch_bake  # noqa: PLC0415

        spec = stores.folder.spec
        report = watch_bake(self.version, spec=spec.release, label=spec.label, ledger=stores.ledger, lake=stores.lake)
        return report.outcome != "wait"
