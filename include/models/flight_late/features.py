"""Features of a flight, from what the timetable says.

Each function is one feature; its parameters are columns of a row or other features, as arrays of one length.
"""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
MINUTES_PER_DAY = 1440


def scheduled_minute(sched_dep_time: Numbers) -> Numbers:
    """Minute of the day of the scheduled departure, 0 to 1439."""
    return minute_of_day(sched_dep_time)


def scheduled_block(sched_dep_time: Numbers, sched_arr_time: Numbers) -> Numbers:
    """Scheduled minutes from gate to gate on the two local clocks, 0 to 1439."""
    return (minute_of_day(sched_arr_time) - minute_of_day(sched_dep_time)) % MINUTES_PER_DAY


def weekday(year: Numbers, month: Numbers, day: Numbers) -> Numbers:
    """Monday 0 to Sunday 6."""
    months = (year.astype(np.int64) - 1970) * 12 + month.astype(np.int64) - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day.astype(np.int64) - 1
    return (days + 3) % 7.0  # 1 January 1970 was a Thursday


def minute_of_day(clock: Numbers) -> Numbers:
    """Minutes since midnight of a clock time such as 1745."""
    return clock // 100 * 60 + clock % 100
