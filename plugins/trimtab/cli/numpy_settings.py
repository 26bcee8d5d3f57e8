"""What NumPy has to be told before it is imported, so that it starts quickly and sorts fast on this processor."""

import os
from collections.abc import MutableMapping
from pathlib import Path

PROCESSOR = Path("/proc/cpuinfo")
ONE_CORE = 4096
"""Characters that hold the description of one core: asking for all of a large machine takes milliseconds."""
ZEN_4 = {"vendor_id": "AuthenticAMD", "cpu family": "25"}
SLOW_ON_ZEN_4 = "X86_V4 AVX512_ICL"
"""NumPy's names of the instructions, from 2.4 on; others warn only."""


def set_up_numpy(environ: MutableMapping[str, str] = os.environ, processor: Path = PROCESSOR) -> None:
    """Set NumPy's variables, unless the user has.

    No threads of a linear algebra that counting does not use (.05 s). And no AVX-512 on AMD's Zen 4, where storing
    what a mask selects is microcode: sorting 32,768 numbers takes 33 to 49 ns each with it, and 7 with AVX2.
    """
    environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if _sorts_slowly_with_avx512(_first_core(processor)):
        environ.setdefault("NPY_DISABLE_CPU_FEATURES", SLOW_ON_ZEN_4)


def _sorts_slowly_with_avx512(core: str) -> bool:
    """Whether a core, as Linux describes it, is a Zen 4: the first of its family with AVX-512, and the last."""
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in core.splitlines())}
    return ZEN_4.items() <= facts.items() and "avx512f" in facts.get("flags", "").split()


def _first_core(processor: Path) -> str:
    try:
        with processor.open() as file:
            return file.read(ONE_CORE).partition("\n\n")[0]
    except OSError:
        return ""
