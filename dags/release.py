"""`<model>.release`: approval, shadow, canary, live, bake; rollback when a guard trips."""

from datetime import timedelta

from airflow.sdk import DAG, Param, TriggerRule

from trimtab.hooks.stores import model_folders
from trimtab.operators.release import ApproveReleaseOperator, LiveOperator, RequestReleaseOperator, RollbackOperator
from trimtab.operators.release_steps import BakeOperator, ReleaseStepOperator

RETRIES = {"retries": 4, "retry_delay": timedelta(seconds=10), "retry_exponential_backoff": True}
NEEDED = {
    "approve": "True",
    "optional": "{{ params.skip_approval | string != 'True' }}",
    "full": "False",
}

for folder in model_folders():
    spec = folder.spec
    model = spec.name
    with DAG(
        f"{model}.release",
        description=f"Releases a version of {model}",
        schedule=None,
        catchup=False,
        max_active_runs=2 if spec.release.second == "replace" else 1,
        default_args={"owner": spec.owner, **RETRIES},
        tags=["trimtab", model],
        params={
            "version": Param(
                type="string",
                pattern="^[0-9]+$",
                title="Version",
                description="Version of the registered model to release.",
            ),
            "as_of": Param(
                None,
                type=["null", "string"],
                format="date",
                title="As-of day",
                description="Day in the model's own time. Empty: the day of the run's logical date.",
            ),
            "reason": Param(
                "by hand",
                type="string",
                minLength=1,
                maxLength=4000,
                title="Reason",
                description="Why this version; shown to the person who approves.",
            ),
            "skip_approval": Param(
                "False",
                type="string",
                enum=["False", "True"],
                title="Skip approval",
                description="Counts only where release.automation in model.yaml is 'optional'.",
            ),
        },
    ):
        request = RequestReleaseOperator(task_id="request", model=model, reason="{{ params.reason }}")
        approve = ApproveReleaseOperator(
            task_id="approve",
            model=model,
            needed=NEEDED[spec.release.automation],
            subject=f"Release version {{{{ params.version }}}} of {model}?",
            body="As of {{ params.as_of }}.\n\n{{ params.reason }}",
            params={"comment": Param(None, type=["null", "string"], title="Comment")},
            response_timeout=timedelta(hours=spec.release.approval_hours),
        )
        steps = [ReleaseStepOperator(task_id=step.name, model=model, step=step.name) for step in spec.release.steps]
        live = LiveOperator(task_id="live", model=model)
        bake = BakeOperator(task_id="bake", model=model)
        rollback = RollbackOperator(
            task_id="rollback",
            model=model,
            steps=[*(step.task_id for step in steps), "live", "bake"],
            trigger_rule=TriggerRule.ONE_FAILED,
        )

        previous = request >> approve
        for step in steps:
            previous = previous >> step
        previous >> live >> bake
        [*steps, live, bake] >> rollback
