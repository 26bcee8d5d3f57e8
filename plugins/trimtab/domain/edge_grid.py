"""Counting many different numbers without sorting them: by even cells, of which few have an edge in them."""

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import LARGEST

CELLS = 2**16
"""Cells of a grid; their counts fit into the processor's cache."""
BEYOND = 2
"""Cells on each side of the edges: one for what lies beyond, and one for rounding."""
FEWEST_DIFFERENT = 64
"""Different numbers below which sorting is the quicker way (2-5 ns a number)."""
LARGEST_SHARE = 0.2
"""Share of numbers that must be compared after all, beyond which sorting all is as quick."""
WHOLE = 2.0**52
"""From here on, up to twice as much, floats are whole numbers one by one, as are their bits, read as an integer."""
WHOLE_BITS = int(np.float64(WHOLE).view(np.int64))


class EdgeGrid:
    """Even cells from the first edge to the last, and some on each side for what lies beyond.

    A cell's number never falls as the value grows, rounding included. So a value in another cell than an edge lies on
    the side of it where its cell lies, and only those in the same cell have to be compared.
    """

    def __init__(self, edges: FloatArray, centre: float) -> None:
        """Lay the cells over ascending edges (k,), the last of which is larger than the first.

        Values are given by what they differ from the centre, which is known already, and lies between the outer edges.
        """
        self._edges = edges
        self._per_unit = (CELLS - 1 - 2 * BEYOND) / (edges[-1] - edges[0])
        self._least = edges[0] - centre - 1 / self._per_unit
        self._most = edges[-1] - centre + 1 / self._per_unit
        self._offset = WHOLE + BEYOND - (edges[0] - centre) * self._per_unit
        self._edge_cells = self._cells(edges - centre)
        self._compares = np.zeros(CELLS, dtype=bool)
        self._compares[self._edge_cells] = True
        self._compares[:BEYOND] = self._compares[-BEYOND:] = True
        self._compared = np.flatnonzero(self._compares)

    def compared_share(self, shifted: FloatArray) -> float:
        """Share of values (n,), less the centre, that are in a cell with an edge or beyond; they are overwritten."""
        return float(self._compares[self._cells(shifted)].mean())

    def places(self, values: FloatArray, shifted: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
        """How many of the finite values (n,) are smaller than each edge (k,), and those that were compared, sorted.

        All beyond the outer edges are among these. `shifted`, the values less the centre, is overwritten.
        """
        cells = self._cells(shifted)
        counts = np.bincount(cells, minlength=CELLS)
        compared = np.empty(0)
        if counts[self._compared].any():
            compared = values[self._compares[cells]]
            compared.sort()
            counts[self._compared] = 0
        smaller: NDArray[np.intp] = counts.cumsum(out=counts)[self._edge_cells]
        return smaller + compared.searchsorted(self._edges), compared

    def _cells(self, shifted: FloatArray) -> NDArray[np.intp]:
        """Cells (n,), written over the values: new memory for each step would cost as much as all the steps.

        Added to WHOLE, a number is rounded to a whole one, which is read from its bits: twice as quick as a conversion.
        """
        np.clip(shifted, self._least, self._most, out=shifted)
        shifted *= self._per_unit
        shifted += self._offset
        cells = shifted.view(np.int64)
        cells -= WHOLE_BITS
        return cells


def grid_for(edges: FloatArray, centre: float, ordered: FloatArray) -> EdgeGrid | None:
    """A grid over edges (k,), if it counts numbers like these (n,), finite and sorted, more quickly than sorting."""
    if not (edges[0] <= centre <= edges[-1] and edges[-1] - edges[0] > CELLS / LARGEST):
        return None
    if 1 + np.count_nonzero(np.diff(ordered)) < FEWEST_DIFFERENT:
        return None
    grid = EdgeGrid(edges, centre)
    return grid if grid.compared_share(ordered - centre) <= LARGEST_SHARE else None
