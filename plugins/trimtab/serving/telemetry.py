"""What the service counts, in the words of Prometheus. Labels are few: never a request or a key."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trimtab.serving.model_server import Attempt, ModelServer

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper ends of the histograms' buckets."""


class Telemetry:
    """The metrics of one process."""

    def __init__(self, models: Mapping[str, ModelServer]) -> None:
        """Count from zero; what is loaded is read from the models themselves."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "trimtab_requests",
            "Requests to predict, by HTTP status.",
            ["model_name", "status"],
            registry=self._registry,
        )
        self._duration = Histogram(
            "trimtab_request_duration_seconds",
            "From the first byte of a request to predict to the last of its answer.",
            ["model_name"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._rows = Counter(
            "trimtab_predictions",
            "Rows predicted, by version, arm (champion, challenger, shadow) and outcome (ok, failed).",
            ["model_name", "model_version", "arm", "outcome"],
            registry=self._registry,
        )
        self._calls = Histogram(
            "trimtab_predict_duration_seconds",
            "One call of a version, whatever its number of rows.",
            ["model_name", "model_version", "arm"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._skipped = Counter(
            "trimtab_shadow_skipped",
            "Requests that the shadow did not predict because too many were waiting for it.",
            ["model_name"],
            registry=self._registry,
        )
        self._registry.register(_Loaded(models))
        ProcessCollector(registry=self._registry)

    def answered(self, model: str, status: int, seconds: float) -> None:
        """Count a request to predict; `model` is empty where no such model is served."""
        self._requests.labels(model, str(status)).inc()
        self._duration.labels(model).observe(seconds)

    def tried(self, model: str, attempt: Attempt) -> None:
        """Count the rows of one call of one version."""
        failed = len(attempt.failed)
        self._rows.labels(model, attempt.version, attempt.arm, "ok").inc(len(attempt.positions) - failed)
        self._rows.labels(model, attempt.version, attempt.arm, "failed").inc(failed)
        self._calls.labels(model, attempt.version, attempt.arm).observe(attempt.latency_ms / 1000)

    def skipped(self, model: str) -> None:
        """Count a request that the shadow did not predict."""
        self._skipped.labels(model).inc()

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)


class _Loaded(Collector):
    """What is loaded, read when it is asked for, so that a version that is gone leaves no series behind."""

    def __init__(self, models: Mapping[str, ModelServer]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        loaded = GaugeMetricFamily(
            "trimtab_model_loaded", "1 for each version that is loaded.", labels=["model_name", "model_version", "role"]
        )
        sequence = GaugeMetricFamily(
            "trimtab_routing_sequence", "Ledger sequence of the routing in force.", labels=["model_name"]
        )
        share = GaugeMetricFamily(
            "trimtab_challenger_share", "Share of the rows that the challenger answers.", labels=["model_name"]
        )
        following = GaugeMetricFamily(
            "trimtab_following", "1 while the newest routing of the ledger is in force.", labels=["model_name"]
        )
        failures = CounterMetricFamily(
            "trimtab_refresh_failures", "Refreshes that did not reach the newest routing.", labels=["model_name"]
        )
        for name, server in self._models.items():
            state = server.state
            for role, version in (("champion", state.version), ("challenger", state.challenger)):
                if version:
                    loaded.add_metric([name, version, role], 1)
            sequence.add_metric([name], state.routing or 0)
            share.add_metric([name], state.share)
            following.add_metric([name], float(state.problem is None))
            failures.add_metric([name], server.failed_refreshes)
        yield from (loaded, sequence, share, following, failures)
