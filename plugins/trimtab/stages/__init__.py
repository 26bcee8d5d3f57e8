"""Use cases, one per step: ports in, results out. They know nothing of Airflow, so DAGs, commands and tests share them."""
