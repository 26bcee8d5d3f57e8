"""`<model>.daily`: take in a day's batch, score it, and judge whether the model is still true."""

from datetime import UTC, date, datetime, timedelta

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param

from trimtab.hooks.stores import model_folders
from trimtab.operators.collect import CollectOperator
from trimtab.operators.feedback import FeedbackOperator
from trimtab.operators.ingest import IngestOperator
from trimtab.operators.judge import JudgeOperator
from trimtab.operators.profile_batch import ProfileBatchOperator
from trimtab.operators.score import ScoreOperator
from trimtab.operators.validate import ValidateOperator
from trimtab.sensors.batch import BatchSensor

RETRIES = {"retries": 4, "retry_delay": timedelta(seconds=10), "retry_exponential_backoff": True}


def midnight(day: date) -> datetime:
    """The start of a day in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


for folder in model_folders():
    spec = folder.spec
    model = spec.name
    with DAG(
        f"{model}.daily",
        description=f"Daily batch of {model}: {spec.description}",
        schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
        start_date=midnight(spec.source.first_day or date(2020, 1, 1)),
        end_date=midnight(spec.source.last_day) if spec.source.last_day else None,
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
                description="Day of the batch. Empty: the day of the run's logical date.",
            )
        },
    ):
        wait = BatchSensor(task_id="wait", model=model)
        ingest = IngestOperator(task_id="ingest", model=model)
        validate = ValidateOperator(task_id="validate", model=model)
        score = ScoreOperator(task_id="score", model=model)
        profile_batch = ProfileBatchOperator(task_id="profile_batch", model=model)
        collect = CollectOperator(task_id="collect", model=model)
        feedback = FeedbackOperator(task_id="feedback", model=model)
        judge = JudgeOperator(
            task_id="judge", model=model, outlets=[Asset(f"{model}.verdict", uri=f"trimtab://{model}/verdict")]
        )

        wait >> ingest >> validate >> score >> profile_batch >> judge
        [wait, collect] >> feedback >> judge
