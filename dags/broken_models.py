"""No DAG: this file fails to import, and so shows in the UI, while a model folder cannot be read.

The DAG files of the other models go on without that folder.
"""

from trimtab.hooks.stores import broken_model_folders

if broken := broken_model_folders():
    raise ExceptionGroup("Model folders that airflow cannot make a dag of", broken)
