"""All trees of a HistGradientBoosting of scikit-learn in one call, which answers a single row thirty times as fast.

scikit-learn calls its compiled code once for each tree, 5 us each. Here the trees are joined below a root that chooses
among them by a column of its own, the number of the tree: each row is asked once for each tree, in one call of the same
code. scikit-learn promises nothing about this part of it: the joined trees are used only where they give the same to
the last bit.
"""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakMethod

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.metrics import FloatArray

LARGEST_MATRIX = 2**17
"""Numbers, rows x trees x columns, that the processor's cache mostly holds; beyond, scikit-learn's loop is as quick."""
PIECE = 2**15
"""Numbers that are asked about in one call: a quarter of a megabyte, which leaves the cache to those who answer."""
PROBES = 64
"""Rows that both ways must give the same for."""


class JoinedTrees:
    """Takes the place of an estimator's loop over its trees."""

    def __init__(self, estimator: Any) -> None:
        """Join the trees of a fitted regressor or binary classifier."""
        # Weak, or both would live until a collection, which does not look at what the service has frozen.
        self._loop = WeakMethod(estimator._predict_iterations)  # noqa: SLF001  # see above
        self._trees = estimator._predictors  # noqa: SLF001
        trees = [tree for (tree,) in self._trees]
        self._known, positions = estimator._bin_mapper.make_known_categories_bitsets()  # noqa: SLF001
        self._positions = np.append(positions, positions.dtype.type(0))
        self._joined = _join(trees, chooser=len(positions))
        self._numbers = np.arange(len(trees), dtype=np.float64)
        self._rows_at_once = max(PIECE // (len(trees) * len(self._positions)), 1)

    def add(
        self,
        matrix: FloatArray,
        trees: Sequence[Any],
        raw: FloatArray,
        is_binned: bool,  # noqa: FBT001  # scikit-learn's own signature
        n_threads: int,
    ) -> None:
        """Add what some trees say of a matrix (n, p) to `raw` (n, 1)."""
        is_large = matrix.size * len(self._numbers) > LARGEST_MATRIX
        if is_large or is_binned or trees is not self._trees:
            self._by_loop(matrix, trees, raw, is_binned, n_threads)
        else:
            for start in range(0, len(matrix), self._rows_at_once):
                piece = slice(start, start + self._rows_at_once)
                self._add_at_once(matrix[piece], raw[piece])

    def gives_the_same(self) -> bool:
        """Whether one call does so where trees can differ: on and beside their thresholds, and without a value."""
        random, nodes = np.random.default_rng(0), self._joined.nodes
        odd = np.array([np.nan, -1.0, 0.0, 1.0, 2.0, 254.0, 1e300, -1e300])
        columns = []
        for column in range(len(self._positions) - 1):
            limits = nodes["num_threshold"][nodes["feature_idx"] == column]
            near = [odd, limits, np.nextafter(limits, np.inf)]
            columns.append(random.choice(np.concatenate(near), PROBES))
        matrix = np.column_stack(columns)
        by_loop, at_once = np.zeros((PROBES, 1), order="F"), np.zeros((PROBES, 1), order="F")
        self._by_loop(matrix, self._trees, by_loop, is_binned=False, n_threads=1)
        self._add_at_once(matrix, at_once)
        return np.array_equal(by_loop, at_once)

    @property
    def _by_loop(self) -> Callable[..., None]:
        loop: Callable[..., None] | None = self._loop()
        if loop is None:
            raise ReferenceError("the estimator of these trees is gone")
        return loop

    def _add_at_once(self, matrix: FloatArray, raw: FloatArray) -> None:
        rows, columns = matrix.shape
        asked = np.empty((len(self._numbers), rows, columns + 1))
        asked[:, :, :-1], asked[:, :, -1] = matrix, self._numbers[:, np.newaxis]
        leaves = self._joined.predict(asked.reshape(-1, columns + 1), self._known, self._positions, 1)
        summands = leaves.reshape(len(self._numbers), rows)
        summands[0] += raw[:, 0]
        raw[:, 0] = np.add.accumulate(summands)[-1]  # one after the other, as the loop does: a sum would be in pairs


def join_trees(estimator: Any) -> None:
    """Let a fitted estimator ask all its trees at once, if it can be done without changing what it gives."""
    try:
        joined = JoinedTrees(estimator)
        if joined.gives_the_same():
            estimator._predict_iterations = joined.add  # noqa: SLF001
    except (AttributeError, IndexError, TypeError, ValueError):
        return  # other trees, or another version of scikit-learn


def _join(trees: Sequence[Any], chooser: int) -> Any:
    """The trees as one; the column `chooser` says which of them is meant."""
    above = len(trees) - 1
    starts = above + np.cumsum([0, *(len(tree.nodes) for tree in trees[:-1])])
    nodes = np.concatenate([np.zeros(above, trees[0].nodes.dtype), *(tree.nodes for tree in trees)])
    bitsets = 0
    for start, tree in zip(starts.tolist(), trees, strict=True):
        own = nodes[start : start + len(tree.nodes)]
        own["left"] += np.uint32(start)
        own["right"] += np.uint32(start)
        own["bitset_idx"] += np.uint32(bitsets)
        bitsets += len(tree.raw_left_cat_bitsets)
    _choose(nodes[:above], starts, chooser)
    return type(trees[0])(nodes, None, np.concatenate([tree.raw_left_cat_bitsets for tree in trees]))


def _choose(nodes: NDArray[np.void], starts: NDArray[np.intp], chooser: int) -> None:
    """Fill the nodes above the trees: a balanced search for the number of the tree."""
    nodes["feature_idx"] = chooser
    free = iter(range(len(nodes)))

    def root(first: int, past: int) -> int:
        if past - first == 1:
            return int(starts[first])
        place, middle = next(free), (first + past) // 2
        nodes["num_threshold"][place] = middle - 0.5
        nodes["left"][place] = root(first, middle)
        nodes["right"][place] = root(middle, past)
        return place

    root(0, len(starts))
