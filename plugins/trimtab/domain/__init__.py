"""Pure decisions and quantities: values in, values out. No I/O, no clock, no Airflow, no pandas, no scikit-learn."""
