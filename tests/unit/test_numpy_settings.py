"""What NumPy is told before it is imported: by processor, and never against the user."""

import subprocess
import sys
from pathlib import Path

import pytest

from trimtab.cli.numpy_settings import SLOW_ON_ZEN_4, set_up_numpy

CORE = """processor\t: 0
vendor_id\t: {vendor}
cpu family\t: {family}
model\t\t: 17
flags\t\t: fpu sse4_2 avx2 {flags}

processor\t: 1
"""


def core_of(folder: Path, vendor: str, family: int, flags: str) -> Path:
    path = folder / "cpuinfo"
    path.write_text(CORE.format(vendor=vendor, family=family, flags=flags))
    return path


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "slow"),
    [
        ("AuthenticAMD", 25, "avx512f avx512vl", True),
        ("AuthenticAMD", 25, "", False),
        ("AuthenticAMD", 26, "avx512f", False),
        ("GenuineIntel", 6, "avx512f", False),
    ],
    ids=["Zen 4", "Zen 3", "Zen 5", "Intel"],
)
def test_only_zen_4_does_without_avx512(tmp_path: Path, vendor: str, family: int, flags: str, slow: bool) -> None:
    environ: dict[str, str] = {}
    set_up_numpy(environ, core_of(tmp_path, vendor, family, flags))
    assert environ.get("NPY_DISABLE_CPU_FEATURES") == (SLOW_ON_ZEN_4 if slow else None)
    assert environ["OPENBLAS_NUM_THREADS"] == "1"


def test_what_the_user_has_set_stays(tmp_path: Path) -> None:
    environ = {"NPY_DISABLE_CPU_FEATURES": "", "OPENBLAS_NUM_THREADS": "8"}
    set_up_numpy(environ, core_of(tmp_path, "AuthenticAMD", 25, "avx512f"))
    assert environ == {"NPY_DISABLE_CPU_FEATURES": "", "OPENBLAS_NUM_THREADS": "8"}


def test_where_linux_does_not_describe_the_processor_nothing_is_switched_off(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    set_up_numpy(environ, tmp_path / "absent")
    assert "NPY_DISABLE_CPU_FEATURES" not in environ


def test_numpy_starts_with_the_settings_on_every_processor() -> None:
    code = f"""
import os
os.environ["NPY_DISABLE_CPU_FEATURES"] = {SLOW_ON_ZEN_4!r}
import numpy
print(numpy.sort([3.0, 1.0, 2.0]).tolist())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1.0, 2.0, 3.0]"
