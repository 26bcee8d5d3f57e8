"""What the guards of a release do with challengers that are as good as the champion, and with those that are not.

    python benchmarks/releases.py [RELEASES] [SEED]

Each line is so many simulated releases with the steps, guards and defaults of the spec, judged every 10 seconds of
traffic (at slow traffic, with every few requests) until the release is live, rolled back, or held for want of evidence.
Users send requests at random, and a user's requests all meet the same version. Champion and challenger fail on one
request in 500 each, take 8 ms in the median with a log-normal spread of 0.5, and are right on 85 % of the rows, where
they disagree on 6 %; what is said of the challenger comes on top. Load makes both versions 30 % slower and faster again
within the hour. Labels come for half of the rows.

'Exposed' are the users who were answered by the challenger before it was rolled back; 'answers' are what they got.
The lines 'canary only' have no shadow step before, and 'with labels' have steps that wait for labels.
"""

import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.guards import ArmTraffic, Quality, StepEvidence, judge_step
from trimtab.domain.latency import latency_bin
from trimtab.domain.metrics import FloatArray
from trimtab.domain.sequential import Moments
from trimtab.domain.spec import GuardsSpec, ReleaseSpec, StepSpec

USERS = 20_000
FAILURES, LATENCY_MS, LATENCY_SPREAD = 0.002, 8.0, 0.5
ACCURACY, DISAGREEMENT, LABELLED = 0.85, 0.06, 0.5
LOAD, LOAD_S = 0.3, 3600
OUTPUTS, OUTPUT_SPREAD, CHALLENGER_SHIFT = 100.0, 30.0, 4.0
TICK_S, TICK_REQUESTS = 10.0, 4

DEFAULT = ReleaseSpec(guards=GuardsSpec(memory_ratio=None))
"""Memory is measured before the first step, and not simulated."""
CANARY = DEFAULT.model_copy(update={"steps": DEFAULT.steps[1:]})
LABELS = DEFAULT.model_copy(
    update={
        "steps": tuple(s.model_copy(update={"labels": n}) for s, n in zip(DEFAULT.steps, (3000, 0, 0), strict=True))
    }
)
CANARY_LABELS = DEFAULT.model_copy(
    update={"steps": (StepSpec(name="canary_5", share=0.05, requests=100, labels=6000), *DEFAULT.steps[2:])}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """What is different about it."""

    failures: float = 0.0
    """Rate on top of the champion's."""
    slowness: float = 1.0
    """Times the champion's latency."""
    accuracy: float = 0.0
    """On top of the champion's."""
    canary_shift: float = 0.0
    """Of its predictions, in the canary only, in standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Traffic, spec and challenger of a line."""

    name: str
    challenger: Challenger = Challenger()
    spec: ReleaseSpec = DEFAULT
    rate: float = 20.0
    """Requests a second."""
    label_delay_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a simulated release ended."""

    outcome: str
    seconds: float
    step: str
    users: int
    answers: int
    reason: str = ""


@dataclass(slots=True)
class _Arm:
    requests: int = 0
    failures: int = 0
    latencies: Counter[int] = field(default_factory=Counter)
    outputs: Moments = field(default_factory=Moments)
    losses: Moments = field(default_factory=Moments)

    def add(self, failed: NDArray[np.bool_], latencies: FloatArray, outputs: FloatArray) -> None:
        self.requests += len(failed)
        self.failures += int(failed.sum())
        self.latencies.update(map(latency_bin, latencies.tolist()))
        self.outputs += Moments.of(outputs)

    @property
    def traffic(self) -> ArmTraffic:
        return ArmTraffic(
            requests=self.requests, failures=self.failures, latencies=self.latencies, outputs=self.outputs
        )


@dataclass(slots=True)
class _Step:
    """The evidence of a step as it grows."""

    spec: StepSpec
    champion: _Arm = field(default_factory=_Arm)
    challenger: _Arm = field(default_factory=_Arm)
    paired: list[FloatArray] = field(default_factory=list)
    waiting: deque[tuple[float, FloatArray, FloatArray, NDArray[np.bool_]]] = field(default_factory=deque)

    def evidence(self, shadow: tuple[Moments, Moments] | None) -> StepEvidence:
        quality = Quality(
            paired=np.concatenate(self.paired) if self.paired else np.zeros(0),
            champion=self.champion.losses,
            challenger=self.challenger.losses,
        )
        return StepEvidence(
            champion=self.champion.traffic, challenger=self.challenger.traffic, shadow=shadow, quality=quality
        )

    def mature(self, now: float) -> None:
        """Take in the labels that have come by now."""
        while self.waiting and self.waiting[0][0] <= now:
            _, old, new, in_share = self.waiting.popleft()
            if self.spec.share == 0:
                self.paired.append(new - old)
            else:
                self.champion.losses += Moments.of(old[~in_share])
                self.challenger.losses += Moments.of(new[in_share])


class _Release:
    """A release of one challenger."""

    def __init__(self, world: World, random: np.random.Generator) -> None:
        self._world, self._random = world, random
        self._places = random.random(USERS)
        self._exposed: set[int] = set()
        self._now, self._answers = 0.0, 0
        self._load_phase = random.random()

    def run(self) -> Ended:
        """From the first step to the end."""
        shadow: tuple[Moments, Moments] | None = None
        for spec in self._world.spec.steps:
            step = _Step(spec)
            outcome, reasons = self._judge(step, shadow)
            if outcome != "live":
                return self._ended(outcome, spec.name, reasons)
            if spec.share == 0:
                shadow = step.champion.outputs, step.challenger.outputs
        return self._ended("live", "", ())

    def _judge(self, step: _Step, shadow: tuple[Moments, Moments] | None) -> tuple[str, Sequence[str]]:
        end = self._now + self._world.spec.hold_hours * 3600
        tick = max(TICK_S, TICK_REQUESTS / (self._world.rate * (step.spec.share or 1)))
        while self._now < end:
            self._now += tick
            self._serve(step, self._random.poisson(self._world.rate * tick))
            step.mature(self._now)
            report = judge_step(step.evidence(shadow), step.spec, self._world.spec)
            if report.outcome != "wait":
                return ("live" if report.outcome == "pass" else "rolled back"), report.reasons
        return "held", report.reasons

    def _serve(self, step: _Step, count: int) -> None:
        random, new, share = self._random, self._world.challenger, step.spec.share
        users = random.integers(USERS, size=count)
        in_share = self._places[users] < share
        load = 1 + LOAD * np.sin(2 * np.pi * (self._now / LOAD_S + self._load_phase))
        values = random.normal(OUTPUTS, OUTPUT_SPREAD, count)
        old_fails = random.random(count) < FAILURES
        new_fails = random.random(count) < FAILURES + new.failures
        old_mask, new_mask = ~in_share, in_share if share else ~old_fails
        shift = CHALLENGER_SHIFT + (new.canary_shift * OUTPUT_SPREAD if share else 0.0)
        for arm, mask, fails, slowness, outputs in (
            (step.champion, old_mask, old_fails, 1.0, values),
            (step.challenger, new_mask, new_fails, new.slowness, values + shift),
        ):
            latencies = load * slowness * random.lognormal(np.log(LATENCY_MS), LATENCY_SPREAD, mask.sum())
            arm.add(fails[mask], latencies, outputs[mask & ~fails])
        labelled = random.random(count) < LABELLED
        old_loss, new_loss = self._losses(count)
        step.waiting.append(
            (self._now + self._world.label_delay_s, old_loss[labelled], new_loss[labelled], in_share[labelled])
        )
        self._exposed.update(users[in_share].tolist())
        self._answers += int(in_share.sum())

    def _losses(self, count: int) -> tuple[FloatArray, FloatArray]:
        """1 where a version is wrong."""
        draw, worse = self._random.random(count), -self._world.challenger.accuracy
        only_new, only_old = (DISAGREEMENT + worse) / 2, (DISAGREEMENT - worse) / 2
        both = 1 - ACCURACY - only_old
        old = draw < both + only_old
        new = (draw < both) | ((draw >= both + only_old) & (draw < both + only_old + only_new))
        return old.astype(np.float64), new.astype(np.float64)

    def _ended(self, outcome: str, step: str, reasons: Sequence[str]) -> Ended:
        reason = reasons[0].partition(":")[0] if reasons else ""
        return Ended(
            outcome=outcome,
            seconds=self._now,
            step=step,
            users=len(self._exposed),
            answers=self._answers,
            reason=reason,
        )


def simulate(world: World, count: int, seed: int) -> list[Ended]:
    """So many releases; the same seed, the same releases."""
    return [_Release(world, np.random.default_rng((seed, number))).run() for number in range(count)]


GOOD, FAILING, SLOW = Challenger(), Challenger(failures=0.02), Challenger(slowness=2.0)
WORSE, SHIFTED = Challenger(accuracy=-0.03), Challenger(canary_shift=1.0)
WORLDS = (
    World(name="as good"),
    World(name="as good, 2 requests/s", rate=2.0),
    World(name="as good, 0.2 requests/s", rate=0.2),
    World(name="as good, canary only", spec=CANARY),
    World(name="as good, with labels", spec=LABELS),
    World(name="as good, canary only, with labels", spec=CANARY_LABELS),
    World(name="2 % more errors", challenger=FAILING),
    World(name="2 % more errors, canary only", challenger=FAILING, spec=CANARY),
    World(name="2 % more errors, canary only, 2 requests/s", challenger=FAILING, spec=CANARY, rate=2.0),
    World(name="2 % more errors, canary only, 0.2 requests/s", challenger=FAILING, spec=CANARY, rate=0.2),
    World(name="double latency", challenger=SLOW),
    World(name="double latency, canary only", challenger=SLOW, spec=CANARY),
    World(name="double latency, canary only, 2 requests/s", challenger=SLOW, spec=CANARY, rate=2.0),
    World(name="3 points less accurate, with labels", challenger=WORSE, spec=LABELS),
    World(name="3 points less accurate, canary only, with labels", challenger=WORSE, spec=CANARY_LABELS),
    World(name="predicts 1 sd higher in the canary than in the shadow", challenger=SHIFTED),
)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}" if seconds < 36_000 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004


def _line(world: World, ended: Sequence[Ended], elapsed: float) -> str:
    count = len(ended)
    shares = [sum(one.outcome == name for one in ended) / count for name in ("live", "rolled back", "held")]
    deciding = [one for one in ended if one.outcome == "rolled back"] if world.challenger != GOOD else ended
    deciding = deciding or list(ended)
    seconds, users, answers = (
        np.quantile([getattr(one, name) for one in deciding], [0.5, 0.9]) for name in ("seconds", "users", "answers")
    )
    guards = Counter(f"{one.reason} in {one.step}" for one in ended if one.outcome == "rolled back").most_common(2)
    why = ", ".join(f"{name} {number}" for name, number in guards)
    return (
        f"{world.name:<54}{shares[0]:>7.1%}{shares[1]:>9.1%}{shares[2]:>7.1%}"
        f"{_minutes(seconds[0]):>9}{_minutes(seconds[1]):>9}{users[0]:>9.0f}{users[1]:>9.0f}{answers[1]:>9.0f}"
        f"  {why} ({elapsed:.0f} s)"
    )


def main(count: int, seed: int) -> None:
    """Print the table."""
    print(
        f"{count} releases a line, seed {seed}, at 20 requests/s where nothing else is said; medians and 90 % quantiles"
    )
    print(
        f"{'challenger':<54}{'live':>7}{'back':>9}{'held':>7}{'min 50%':>9}{'90%':>9}"
        f"{'users 50%':>9}{'90%':>9}{'answers':>9}  rolled back by"
    )
    for world in WORLDS:
        began = time.perf_counter()
        ended = simulate(replace(world), count, seed)
        print(_line(world, ended, time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400, int(sys.argv[2]) if len(sys.argv) > 2 else 0)  # noqa: PLR2004
