"""The one file that Airflow loads by itself. Every task process loads it too, so it imports next to nothing."""

import os
import sys

from airflow.plugins_manager import AirflowPlugin

listening = []
if os.environ.get("TRIMTAB_WARM_WORKERS") == "1" and sys.argv[1:2] == ["scheduler"]:
    from trimtab.listeners import warm_workers

    listening = [warm_workers]


class TrimtabPlugin(AirflowPlugin):
    """Warm workers."""

    name = "trimtab"
    listeners = listening
