"""The status page inside the Airflow UI. Only the api-server process imports this package."""
