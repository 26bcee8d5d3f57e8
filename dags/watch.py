"""`<model>.watch`: after each verdict, retrain, release a version without a training, open an incident, or nothing."""

from datetime import timedelta

from airflow.sdk import DAG, Asset, Param

from trimtab.hooks.stores import model_folders
from trimtab.operators.retrain import IncidentOperator, RetrainBranchOperator
from trimtab.operators.trigger_run import TriggerOnceOperator
from trimtab.sensors.drift import DriftSensor

RETRIES = {"retries": 4, "retry_delay": timedelta(seconds=10), "retry_exponential_backoff": True}
ACTION = "{{ ti.xcom_pull('retrain', key='decision')['action'] }}"
REASON = "{{ ti.xcom_pull('retrain', key='decision')['reason'] }}"
VERSION = "{{ ti.xcom_pull('retrain', key='decision')['version'] }}"
AS_OF = "{{ ti.xcom_pull('drift')['as_of'] }}"

for folder in model_folders():
    spec = folder.spec
    model = spec.name
    with DAG(
        f"{model}.watch",
        description=f"Acts on verdicts about {model}",
        schedule=Asset(f"{model}.verdict", uri=f"trimtab://{model}/verdict"),
        catchup=False,
        max_active_runs=1,
        default_args={"owner": spec.owner, **RETRIES},
        tags=["trimtab", model],
        params={
            "as_of": Param(
                None,
                type=["null", "string"],
                format="date",
                title="As-of day",
                description="Day whose verdict is acted on. Empty: the newest one.",
            )
        },
    ):
        drift = DriftSensor(task_id="drift", model=model)
        retrain = RetrainBranchOperator(
            task_id="retrain", model=model, as_of=AS_OF, retrain="train", release="release", incident="incident"
        )
        train = TriggerOnceOperator(
            task_id="train",
            target_dag_id=f"{model}.train",
            run_id=f"decay__{AS_OF}",
            conf={"as_of": AS_OF, "reason": REASON},
        )
        release = TriggerOnceOperator(
            task_id="release",
            target_dag_id=f"{model}.release",
            run_id=f"{ACTION}__{AS_OF}",
            conf={"version": VERSION, "as_of": AS_OF, "reason": REASON},
        )
        incident = IncidentOperator(task_id="incident", model=model, as_of=AS_OF, reason=REASON)

        drift >> retrain >> [train, release, incident]
