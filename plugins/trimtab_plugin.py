"""The one file that Airflow loads by itself. Every task process loads it too, so it imports next to nothing."""

import os
import sys

from airflow.plugins_manager import AirflowPlugin

listening: list[object] = []
if os.environ.get("TRIMTAB_WARM_WORKERS") == "1" and sys.argv[1:2] == ["scheduler"]:
    from trimtab.listeners import warm_workers

    listening = [warm_workers]

apps: list[object] = []
if sys.argv[1:2] == ["api-server"]:
    from trimtab.ui.queries import airflow_reader
    from trimtab.ui.routes import PREFIX, create_app

    apps = [{"app": create_app(airflow_reader()), "url_prefix": PREFIX, "name": "Trimtab"}]

# Without a slash in front, a link is relative to where Airflow's UI is mounted.
views: list[object] = [
    {"name": "Trimtab", "href": "trimtab/", "destination": "nav", "url_route": "trimtab", "nav_top_level": True},
    {"name": "Trimtab", "href": "trimtab/dag/{DAG_ID}", "destination": "dag", "url_route": "trimtab_dag"},
]


class TrimtabPlugin(AirflowPlugin):
    """Warm workers and the status page."""

    name = "trimtab"
    listeners = listening
    fastapi_apps = apps
    external_views = views
