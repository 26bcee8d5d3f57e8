"""From Airflow's connections to the stores."""
