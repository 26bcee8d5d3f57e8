"""Load the heavy libraries once, in the scheduler, before LocalExecutor forks its workers.

A task is a fork of a worker, so what the scheduler has loaded costs it nothing: a task that needs them all takes 0.1 s
instead of 5 s. No work is done here: a library that has started threads would not survive the fork.
"""

import importlib
import sys

from airflow.listeners import hookimpl

MODULES = (
    "pandas",
    "scipy.special",
    "sklearn.ensemble",
    "skops.io",
    "matplotlib.figure",
    "mlflow",
    "mlflow.tracking.request_auth.registry",
    "mlflow.tracking.request_header.registry",
    "great_expectations",
    "airflow.sdk.execution_time.cache",
    "deltalake",
    "deltalake.fs",
    "encodings.cp437",
    "netrc",
    "pyarrow.csv",
    "pyarrow.dataset",
    "trimtab.adapters.delta_lake",
    "trimtab.adapters.gx_validator",
    "trimtab.adapters.mlflow_registry",
    "trimtab.adapters.figures",
    "trimtab.adapters.sql_ledger",
    "trimtab.adapters.sources",
    "trimtab.adapters.csv_reader",
    "trimtab.adapters.sklearn_trainer",
    "trimtab.adapters.traffic_log",
    "trimtab.adapters.outcome_log",
    "trimtab.stages.ingest",
    "trimtab.stages.validate",
    "trimtab.stages.score",
    "trimtab.stages.profile_batch",
    "trimtab.stages.collect",
    "trimtab.stages.feedback",
    "trimtab.stages.judge",
    "trimtab.operators.ingest",
    "trimtab.operators.validate",
    "trimtab.operators.score",
    "trimtab.operators.profile_batch",
    "trimtab.operators.collect",
    "trimtab.operators.feedback",
    "trimtab.operators.judge",
    "trimtab.sensors.batch",
)


@hookimpl
def on_starting(component: object) -> None:
    """Import in the scheduler only; task processes announce themselves here too, under the same command line."""
    if sys.argv[1:2] == ["scheduler"] and type(component).__name__ == "Job":
        for module in MODULES:
            importlib.import_module(module)
        importlib.import_module("trimtab.adapters.mlflow_connection").find_plugins()
        # scikit-learn asks narwhals about each matrix, and narwhals looks through all installed packages first.
        importlib.import_module("narwhals.dependencies").is_into_dataframe(None)
        importlib.import_module("trimtab.hooks.stores").model_folders()
