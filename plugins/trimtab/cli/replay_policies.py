"""Living the recorded past day by day under one policy, with the stages of a day, a training and a release."""

import os
import time
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from trimtab.adapters.model_folder import ModelFolder, checked, load_folder
from trimtab.adapters.recorded_past import RecordedPast
from trimtab.adapters.replay_stores import PolicyStores
from trimtab.cli.check import uri_of
from trimtab.cli.history import bake, days, decide_day, finish, judge_day, label_day, release, train_challenger
from trimtab.cli.replay_folders import Plan, Progress, alone, short_hash
from trimtab.cli.replay_outcome import outcome_of, store_outcome, stored_outcome
from trimtab.cli.replay_past import OnDay, batch_entries, months, nothing, past_root, recorded_tables
from trimtab.domain.journal import Ledger
from trimtab.domain.release import releases
from trimtab.domain.replaying import Outcome, PolicySpec, Schedule, Verdicts, is_due
from trimtab.domain.retraining import Action, RetrainDecision
from trimtab.domain.spec import ModelSpec
from trimtab.errors import NotFoundError
from trimtab.stages.frames import columns_of
from trimtab.stages.release import roll_back
from trimtab.stages.retrain import open_incident

ACTOR = "replay"
FIRST_REASON = "first training"
LONGEST_BAKE_DAYS = 60
"""As the task `bake` waits: a release without labels is rolled back then, since nobody is here to decide."""


def policy_folder(model: ModelFolder, policy: PolicySpec, file: str) -> ModelFolder:
    """The model folder under a policy.

    Raises:
        SpecError: Naming the key of the policy's file that the spec does not allow.
    """
    return replace(model, spec=checked(ModelSpec, policy.changed(model.spec), file))


def policy_root(plan: Plan, policy: PolicySpec) -> Path:
    """Folder of a policy's stores: named by all that its decisions follow from, but for the last day."""
    folder = policy_folder(load_folder(plan.model), policy, policy.name)
    state = [
        past_root(plan).name,
        folder.fingerprint,
        policy.model_dump_json(exclude={"name", "description"}),
        plan.warm_up.isoformat(),
        plan.first.isoformat(),
        plan.policy_code,
    ]
    return plan.work / f"{policy.name}-{short_hash(state)}"


def run_policy(plan: Plan, policy: PolicySpec, on_day: OnDay = nothing) -> Outcome:
    """Live the past under a policy, from where it was left, and say what it came to."""
    root = policy_root(plan, policy)
    with alone(root):
        stored = stored_outcome(root, plan)
        if stored is not None:
            return replace(stored, policy=policy.name, description=policy.description)
        stores = _open(plan, policy, root)
        progress = Progress.of(root)
        for day in [plan.first - timedelta(days=1), *days(plan.first, plan.last)]:
            if day not in progress.done:
                progress = progress.after(day, seconds=_live(day, plan, policy, stores))
                progress.note(root)
            on_day(day)
        stores.today.day = plan.last
        outcome = outcome_of(plan, policy, stores, progress.seconds)
        store_outcome(root, plan, outcome)
        return outcome


def _open(plan: Plan, policy: PolicySpec, root: Path) -> PolicyStores:
    folder = policy_folder(load_folder(plan.model), policy, policy.name)
    connections = uri_of(os.environ)
    tables = [recorded_tables(plan, month) for month in months(plan)]
    return PolicyStores(
        folder,
        root,
        connections,
        batches=[entry for month in months(plan) for entry in batch_entries(plan, month)],
        recorded=RecordedPast(tables),
        columns_of=partial(columns_of, spec=folder.spec.rows),
        today=plan.first,
    )


def _live(day: date, plan: Plan, policy: PolicySpec, stores: PolicyStores) -> float:
    """Do what is due on a day; the seconds it took."""
    began = time.monotonic()
    stores.today.day = day
    if day < plan.first:
        _begin(day, plan, policy, stores)
    else:
        label_day(day, stores)
        judge_day(day, stores)
        _bake(day, stores)
        if isinstance(policy.act, Verdicts):
            # Without a gate nothing is compared: neither a former champion nor one with its level corrected.
            _act(day, decide_day(day, stores, recalls=policy.ask_gate), policy, stores)
        elif isinstance(policy.act, Schedule) and _is_scheduled(day, policy.act, stores.ledger):
            _retrain(day, f"every {policy.act.days} days", policy, stores)
    return time.monotonic() - began


def _begin(day: date, plan: Plan, policy: PolicySpec, stores: PolicyStores) -> None:
    """The first version is released whatever the gate says: without one there is nothing to compare."""
    spec = stores.folder.spec
    window = plan.first_window_days - spec.label.delay_days - spec.train.holdout_days
    trained = train_challenger(day, stores, reason=FIRST_REASON, window_days=max(window, 2))
    if isinstance(trained, str):
        raise NotFoundError(
            f"Policy {policy.name!r}: no first training as of {day}: {trained}. Begin later (--from), or earlier days "
            "have to be loaded (--warm-up)."
        )
    _release(trained.version, day, FIRST_REASON, policy, stores)


def _release(version: str, day: date, reason: str, policy: PolicySpec, stores: PolicyStores) -> None:
    """Under a policy that never looks back, a version is live at once and for good."""
    steps = stores.folder.spec.release.steps if policy.roll_back else ()
    release(version, stores, as_of=day, actor=ACTOR, reason=reason, steps=steps)
    if not policy.roll_back:
        finish(version, stores, as_of=day, reasons=["the policy does not look back"])


def _bake(day: date, stores: PolicyStores) -> None:
    """End or undo what is live, as soon as the labels say so."""
    for one in releases(stores.ledger.entries("release")).values():
        if one.state != "live":
            continue
        report = bake(one.version, stores)
        live = [entry.as_of for entry in stores.ledger.entries("release", one.version) if entry.kind == "live"][-1]
        too_long = (day - live).days >= LONGEST_BAKE_DAYS
        if report.outcome == "pass":
            finish(one.version, stores, as_of=day, reasons=report.reasons)
        elif report.outcome == "trip" or too_long:
            reason = f"bake: {'; '.join(report.reasons)}"
            roll_back(
                one.version, as_of=day, actor="guard", reason=reason, ledger=stores.ledger, registry=stores.registry
            )


def _act(day: date, decision: RetrainDecision, policy: PolicySpec, stores: PolicyStores) -> None:
    """What the DAG `watch` does."""
    if decision.action is Action.INCIDENT:
        open_incident(day, decision.reason, ledger=stores.ledger)
    elif decision.action is Action.RETRAIN:
        _retrain(day, decision.reason, policy, stores)
    elif decision.version is not None:  # a recall, or a correction of the level
        _release(decision.version, day, decision.reason, policy, stores)


def _is_scheduled(day: date, act: Schedule, ledger: Ledger) -> bool:
    trained = [entry.as_of for entry in ledger.entries("training")]
    busy = any(one.is_open for one in releases(ledger.entries("release")).values())
    return day in trained or (is_due(day, trained, act) and not busy)  # the day itself: it has been begun before


def _retrain(day: date, reason: str, policy: PolicySpec, stores: PolicyStores) -> None:
    trained = train_challenger(day, stores, reason=reason)
    if isinstance(trained, str):
        return  # as the DAG skips it: there is too little to learn from
    if not trained.decision.promote and policy.ask_gate:
        return
    known = releases(stores.ledger.entries("release")).values()
    if any(one.is_open and one.version != trained.version for one in known):
        return  # the release is refused, as the task `request` would
    _release(trained.version, day, trained.decision.summary if policy.ask_gate else reason, policy, stores)
