"""Use cases, one per step: ports in, results out. Nothing of Airflow: DAGs, commands and tests share them."""
