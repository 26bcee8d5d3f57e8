"""`<model>.rollback`: for the person on call. Takes a release back, holds it, or lets it go on."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from trimtab.hooks.stores import model_folders
from trimtab.operators.intervene import InterveneOperator

for folder in model_folders():
    spec = folder.spec
    with DAG(
        f"{spec.name}.rollback",
        description=f"Rolls back, holds or resumes the release of {spec.name}",
        schedule=None,
        catchup=False,
        default_args={"owner": spec.owner, "retries": 4, "retry_delay": timedelta(seconds=2)},
        tags=["trimtab", spec.name],
        params={
            "action": Param(
                "rollback",
                type="string",
                enum=["rollback", "hold", "resume"],
                title="Action",
                description="Return to the champion before; leave the release where it is; or let it go on.",
            ),
            "reason": Param(
                type="string", minLength=1, maxLength=4000, title="Reason", description="Why, for the ledger."
            ),
            "version": Param(
                None,
                type=["null", "string"],
                pattern="^[0-9]+$",
                title="Version",
                description="Empty: the version whose release is on its way, or else the champion.",
            ),
        },
    ):
        InterveneOperator(task_id="intervene", model=spec.name)
