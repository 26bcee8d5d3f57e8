"""What the service counts, in the words of Prometheus. Labels are few: never a request or a key."""

from collections import Counter as Counted
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from trimtab.adapters.outcome_log import Outcome
from trimtab.domain.automation import LEVELS
from trimtab.domain.interaction import OUTCOME_KINDS
from trimtab.serving.attempts import Attempt
from trimtab.serving.model_server import ModelServer
from trimtab.serving.peers import Peers, resident_bytes

Merge: TypeAlias = Callable[[Sequence[float]], float]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper ends of the histograms' buckets."""
SERIES_AT_HAND = 256


class Telemetry:
    """The metrics of a service: of this process, or of all its workers together."""

    def __init__(self, models: Mapping[str, ModelServer], folder: Path | None = None) -> None:
        """Count; what is loaded is read from the models themselves.

        Args:
            models: By name.
            folder: Where all workers of the service keep their counts, which is then also the environment's
                PROMETHEUS_MULTIPROC_DIR; None: there are no others.
        """
        self.peers = Peers(models, folder)
        self._registry = CollectorRegistry()
        if folder is not None:
            MultiProcessCollector(self._registry, str(folder))  # type: ignore[no-untyped-call]  # of the library
        else:
            ProcessCollector(registry=self._registry)
        self._registry.register(Loaded(self.peers))
        counted = self._registry if folder is None else None
        self._requests = Counter(
            "trimtab_requests",
            "Requests to predict, by HTTP status.",
            ["model_name", "status"],
            registry=counted,
        )
        self._duration = Histogram(
            "trimtab_request_duration_seconds",
            "From the first byte of a request to predict to the last of its answer.",
            ["model_name"],
            buckets=SECONDS,
            registry=counted,
        )
        self._rows = Counter(
            "trimtab_predictions",
            "Rows predicted, by version, arm (champion, challenger, shadow) and outcome (ok, failed).",
            ["model_name", "model_version", "arm", "outcome"],
            registry=counted,
        )
        self._calls = Histogram(
            "trimtab_predict_duration_seconds",
            "One call of a version, whatever its number of rows.",
            ["model_name", "model_version", "arm"],
            buckets=SECONDS,
            registry=counted,
        )
        self._skipped = Counter(
            "trimtab_shadow_skipped",
            "Rows that the shadow did not predict because too many were waiting for it.",
            ["model_name"],
            registry=counted,
        )
        self._unlogged = Counter(
            "trimtab_log_failures",
            "Batches that were refused because the log of predictions did not take them.",
            ["model_name"],
            registry=counted,
        )
        self._referred = Counter(
            "trimtab_referred",
            "Rows about which a person decides, by the level of automation that says so.",
            ["model_name", "level"],
            registry=counted,
        )
        self._outcomes = Counter(
            "trimtab_outcomes", "Outcomes that clients have told, by kind.", ["model_name", "kind"], registry=counted
        )
        # The library takes a lock and makes each label a text before it finds a series.
        self._requests_of = lru_cache(SERIES_AT_HAND)(self._requests.labels)
        self._duration_of = lru_cache(SERIES_AT_HAND)(self._duration.labels)
        self._rows_of = lru_cache(SERIES_AT_HAND)(self._rows.labels)
        self._calls_of = lru_cache(SERIES_AT_HAND)(self._calls.labels)
        for name in models:
            for kind in OUTCOME_KINDS:
                self._outcomes.labels(name, kind)
            for level in LEVELS[:-1]:
                self._referred.labels(name, level)
            for rare in (self._skipped, self._unlogged):
                rare.labels(name)  # an increase is only seen of a series that is there

    def answered(self, model: str, status: int, seconds: float) -> None:
        """Count a request to predict; `model` is empty where no such model is served."""
        self._requests_of(model, status).inc()
        self._duration_of(model).observe(seconds)

    def tried(self, model: str, attempt: Attempt) -> None:
        """Count the rows of one call of one version."""
        failed = len(attempt.failed)
        self._rows_of(model, attempt.version, attempt.arm, "ok").inc(len(attempt.positions) - failed)
        self._rows_of(model, attempt.version, attempt.arm, "failed").inc(failed)
        self._calls_of(model, attempt.version, attempt.arm).observe(attempt.latency_ms / 1000)
        for level, rows in attempt.referred.items():
            self._referred.labels(model, level).inc(rows)

    def told(self, model: str, outcomes: Sequence[Outcome]) -> None:
        """Count outcomes that are in the log."""
        for kind, count in Counted(outcome.kind for outcome in outcomes).items():
            self._outcomes.labels(model, kind).inc(count)

    def skipped(self, model: str, rows: int) -> None:
        """Count rows that the shadow did not predict."""
        self._skipped.labels(model).inc(rows)

    def unlogged(self, model: str) -> None:
        """Count a batch that the log did not take."""
        self._unlogged.labels(model).inc()

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)


class Loaded(Collector):
    """What is loaded, read when it is asked for, so that a version that is gone leaves no series behind."""

    def __init__(self, peers: Peers) -> None:
        """Bind to the workers of the service."""
        self._peers = peers

    def collect(self) -> Iterator[Metric]:
        """All series as they are at this moment."""
        workers = self._peers.states()
        states = [(name, *state) for worker in workers.values() for name, state in worker.items()]
        loaded = GaugeMetricFamily(
            "trimtab_model_loaded",
            "Workers that have the version loaded.",
            labels=["model_name", "model_version", "role"],
        )
        roles = Counted(
            (name, version, role)
            for name, state, _, _ in states
            for role, version in (("champion", state.version), ("challenger", state.challenger))
            if version
        )
        for labels, count in roles.items():
            loaded.add_metric(labels, count)
        yield loaded
        yield _by_model(
            "trimtab_routing_sequence",
            "Ledger sequence of the routing in force; of several workers, that of the last to follow.",
            min,
            [(name, state.routing or 0) for name, state, _, _ in states],
        )
        yield _by_model(
            "trimtab_challenger_share",
            "Share of the rows that the challenger answers; of several workers, the largest.",
            max,
            [(name, state.share) for name, state, _, _ in states],
        )
        yield _by_model(
            "trimtab_following",
            "1 while the newest routing of the ledger is in force, in every worker.",
            min,
            [(name, float(is_following)) for name, _, is_following, _ in states],
        )
        failures = CounterMetricFamily(
            "trimtab_refresh_failures", "Refreshes that did not reach the newest routing.", labels=["model_name"]
        )
        for name, total in _grouped(sum, [(name, failed) for name, _, _, failed in states]).items():
            failures.add_metric([name], total)
        yield failures
        memory = GaugeMetricFamily("trimtab_resident_memory_bytes", "Memory of all workers.")
        memory.add_metric([], sum(map(resident_bytes, workers)))
        yield memory
        alive = GaugeMetricFamily("trimtab_workers", "Processes that answer.")
        alive.add_metric([], len(workers))
        yield alive


def _by_model(name: str, text: str, how: Merge, values: Sequence[tuple[str, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["model_name"])
    for model, value in _grouped(how, values).items():
        family.add_metric([model], value)
    return family


def _grouped(how: Merge, values: Sequence[tuple[str, float]]) -> Mapping[str, float]:
    models = dict.fromkeys(name for name, _ in values)
    return {model: how([value for name, value in values if name == model]) for model in models}
