"""`<model>.collect`: empty the disk of the prediction service into the lake, for services that fill it within a day."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from trimtab.hooks.stores import model_folders
from trimtab.operators.collect import CollectOperator

for folder in model_folders():
    spec = folder.spec
    with DAG(
        f"{spec.name}.collect",
        description=f"Answers of the prediction service about {spec.name}, into the lake.",
        schedule="*/10 * * * *",
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        default_args={"owner": spec.owner, "retries": 4, "retry_delay": timedelta(seconds=10)},
        tags=["trimtab", spec.name],
    ):
        CollectOperator(task_id="collect", model=spec.name)
