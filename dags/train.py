"""`<model>.train`: make a challenger, compare it with the champion, and ask for its release if the gate lets it."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from trimtab.hooks.stores import model_folders
from trimtab.operators.training import (
    EvaluateOperator,
    GateOperator,
    RegisterOperator,
    SnapshotOperator,
    TrainOperator,
)
from trimtab.operators.trigger_run import TriggerOnceOperator

# The registry may be down for a minute or two: 6 tries over about four minutes.
RETRIES = {"retries": 6, "retry_delay": timedelta(seconds=10), "retry_exponential_backoff": True}
AS_OF = "{{ ti.xcom_pull('snapshot')['as_of'] }}"
VERSION = "{{ ti.xcom_pull('register')['version'] }}"

for folder in model_folders():
    spec = folder.spec
    model = spec.name
    params = {
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date",
            title="As-of day",
            description="Learn from what was known on this day. Empty: the day of the run's logical date.",
        ),
        "reason": Param(
            "by hand",
            type="string",
            minLength=1,
            maxLength=2000,
            title="Reason",
            description="Why a training is wanted; it goes to the ledger and the model version.",
        ),
        "window_days": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=3660,
            title="Window (days)",
            description="Days to learn from. Empty: as each candidate of model.yaml says.",
        ),
    }
    if spec.release.automation == "optional":
        params["skip_approval"] = Param(
            False, type="boolean", title="Skip approval", description="Release without asking a person."
        )
    with DAG(
        f"{model}.train",
        description=f"Trains a challenger of {model}",
        schedule=None,
        catchup=False,
        max_active_runs=1,
        default_args={"owner": spec.owner, **RETRIES},
        tags=["trimtab", model],
        params=params,
    ):
        snapshot = SnapshotOperator(
            task_id="snapshot",
            model=model,
            reason="{{ params.reason }}",
            window_days="{{ params.window_days or '' }}",
        )
        train = TrainOperator(task_id="train", model=model, as_of=AS_OF, snapshot=snapshot.output)
        evaluate = EvaluateOperator(
            task_id="evaluate", model=model, as_of=AS_OF, snapshot=snapshot.output, runs=train.output
        )
        gate = GateOperator(task_id="gate", model=model, as_of=AS_OF, snapshot=snapshot.output, best=evaluate.output)
        register = RegisterOperator(
            task_id="register", model=model, as_of=AS_OF, best=evaluate.output, decision=gate.output
        )
        release = TriggerOnceOperator(
            task_id="release",
            target_dag_id=f"{model}.release",
            run_id=f"version__{VERSION}",
            conf={
                "version": VERSION,
                "as_of": AS_OF,
                "reason": "{{ ti.xcom_pull('register')['reason'] }}",
                "skip_approval": "{{ params.skip_approval | default(False) }}",
            },
        )

        snapshot >> train >> evaluate >> gate >> register >> release
