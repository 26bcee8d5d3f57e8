"""What a version needs of memory, and whether another one needs too much more."""

from dataclasses import dataclass

CALLS_AHEAD = 100_000
"""Calls after which a leak must not have filled what a version may need more: hours of a busy service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """A process that has done nothing but open a version and predict the same rows again and again."""

    peak: int
    """Largest resident memory in bytes, libraries and all."""
    growth: float
    """Bytes that it has grown by with each call: the median over blocks of calls, so that a single step is none."""
    calls: int
    """That have been made."""

    @property
    def expected(self) -> float:
        """Bytes that it comes to after so many calls as count."""
        return self.peak + self.growth * CALLS_AHEAD

    @property
    def sentence(self) -> str:
        """For people."""
        grows = f" and {self.growth / 1e3:.2g} kB more with each call" if self.growth > 0 else ""
        return f"{self.peak / 1e6:.0f} MB{grows}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEvidence:
    """What champion and challenger need on the same rows, measured in the same manner."""

    champion: MemoryUse
    challenger: MemoryUse

    def exceeds(self, ratio: float) -> bool:
        """Whether the challenger needs, or comes to need, more than so many times what the champion does."""
        return (
            self.challenger.peak > ratio * self.champion.peak
            or self.challenger.expected > ratio * self.champion.expected
        )
