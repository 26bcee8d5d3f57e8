"""Workers of the service killed under load, and whoever moves its log into the lake."""

import os
import random
import signal
import time
from collections import Counter
from datetime import date
from multiprocessing import get_context
from pathlib import Path

from serving_stand import MODEL, Stand

from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.traffic_log import FileTrafficLog
from trimtab.stages.collect import ONLINE, collect

LONGEST_S = 3600


def kill_workers(stand: Stand, kills: int, workers: int) -> None:
    """Kill workers under load, and who moves the log into the lake; compare the lake with what was acknowledged."""
    acknowledged = stand.path / "acknowledged"
    chosen = random.Random(0)  # noqa: S311  # which worker dies
    collected = 0
    with stand.trimtab(workers) as service:
        load = service.loading(32, LONGEST_S, acknowledged=acknowledged)
        for number in range(kills):
            collector = get_context("spawn").Process(target=move_into_lake, args=(stand.path,))
            collector.start()
            time.sleep(1)
            service.until(f"trimtab_workers {workers}.0")
            os.kill(chosen.choice(service.workers()), signal.SIGKILL)
            if number % 2:
                collector.join()
            else:
                time.sleep(chosen.uniform(0, 3))
                collector.kill()
            collected += collector.exitcode == 0
        load.terminate()
        print(load.communicate()[0])
    move_into_lake(stand.path)
    rows = DeltaLake(str(stand.path / "lake"), MODEL).read("predictions", date.min, date.max, part=ONLINE)
    in_lake = Counter(rows.loc[rows["served"], "request_id"])
    asked = set(acknowledged.read_text().split())
    missing = sum(not in_lake[one] for one in asked)
    doubled = sum(in_lake[one] > 1 for one in asked)
    print(
        f"{kills} workers killed, {collected} of {kills} collectors ended by themselves: {len(asked)} acknowledged, "
        f"{missing} missing in the lake, {doubled} doubled"
    )


def move_into_lake(path: Path) -> None:
    """What `<model>.collect` does."""
    collect(logs=[FileTrafficLog(path / "traffic", MODEL)], lake=DeltaLake(str(path / "lake"), MODEL))
