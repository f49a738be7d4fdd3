"""Search training descriptors exactly: every query is compared with every one of them.

In an audit exactness is a feature: a copy that the search misses is a copy that nobody sees. At
100,000 descriptors the plain matrix product is also the fastest way on a CPU, ahead of faiss's
flat index, which computes the same (`benchmarks/retrieval.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.exact_top_k import UNIT_32, candidates, ordered, sum_error

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = {"id": "int64", "caption": "str", "file": "str"}
OPTIONAL = {"kind": "str", "copies": "int64"}
SCORE_BYTES = 2**26
EXACT_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Index:
    """N descriptors of length 1 with the labels of their images.

    `vectors` (N, dim) float32, possibly mapped from a file. `labels` has one row per vector: `id`
    (int64, increasing), `caption`, `file`, and where known `kind` and `copies`, the number of
    times that the image stands in the training set. `embedder`, `digest` and `preprocessing` are
    those of the embedder that made the vectors.
    """

    vectors: NDArray[np.float32]
    labels: pd.DataFrame
    embedder: str
    digest: str
    preprocessing: str

    def __len__(self) -> int:
        """Return N."""
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """Return the number of coordinates of a descriptor."""
        return int(self.vectors.shape[1])

    @property
    def ids(self) -> NDArray[np.int64]:
        """Return the ids (N,)."""
        return self.labels["id"].to_numpy(np.int64)

    @property
    def multiplicity(self) -> NDArray[np.int64]:
        """Return the number of exact copies of each training image (N,), 1 where unlabeled."""
        if "copies" not in self.labels:
            return np.ones(len(self), dtype=np.int64)
        return self.labels["copies"].to_numpy(np.int64)


@dataclass(frozen=True)
class Neighbors:
    """The k nearest training images of Q images, nearest first, out of `searched`.

    `ids`, `rows` (Q, k) int64, the image's id and its row in the index; `similarity` (Q, k)
    float64, the cosine; `multiplicity` (Q, k) int64; `captions`, `files` and `kinds`, Q tuples
    of k strings ("" where unknown). The search is exhaustive and unfiltered.
    """

    ids: Tensor
    rows: Tensor
    similarity: Tensor
    multiplicity: Tensor
    captions: tuple[tuple[str, ...], ...]
    files: tuple[tuple[str, ...], ...]
    kinds: tuple[tuple[str, ...], ...]
    searched: int


def build_index(vectors: Tensor, labels: pd.DataFrame, embedder: Embedder) -> Index:
    """Make an index of descriptors (N, dim) and their labels; lengths are brought to exactly 1.

    `labels` needs `id`, `caption` and `file` and may have `kind` and `copies`; no others. Raises
    ValueError for other columns, ids that do not increase, missing values, copies below 1, another
    number of rows than N, N = 0, another dim than the embedder's, and vectors that are zero or not
    finite.
    """
    if vectors.ndim != 2 or not len(vectors) or vectors.shape[1] != embedder.dim:
        raise ValueError(
            f"vectors have shape {tuple(vectors.shape)}: it must be (N, {embedder.dim}), N > 0, "
            f"for the embedder {embedder.name!r}."
        )
    checked = checked_labels(labels, len(vectors))
    units = unit_rows(vectors.numpy(force=True))
    return Index(units, checked, embedder.name, embedder.digest, embedder.preprocessing)


def search(
    index: Index,
    queries: Tensor,
    k: int = 10,
    *,
    score_bytes: int = SCORE_BYTES,
    exact_bytes: int = EXACT_BYTES,
) -> Neighbors:
    """Find the k training images most similar to each of the queries (Q, dim), exactly.

    Similarity is the inner product in float64 of the query, brought to length 1, with the stored
    vector; equal ones come in the order of their ids. A float32 matrix product proposes all rows
    that its rounding error leaves possible, and only those are computed again: the result is that
    of a full search in float64, row for row, in whatever batches the queries come. k above N gives
    all N.

    Time is that of the product (`benchmarks/retrieval.py`); memory beyond the index up to
    `score_bytes` and `exact_bytes`. Raises ValueError for k < 1, another dim, or queries that are
    zero or not finite.
    """
    if k < 1:
        raise ValueError(f"k={k}: it must be at least 1.")
    if queries.ndim != 2 or queries.shape[1] != index.dim:
        raise ValueError(
            f"queries have shape {tuple(queries.shape)}: it must be (Q, {index.dim})."
        )
    units = _lengths_one(queries.numpy(force=True))
    neighbors = [
        pair
        for block in _blocks(index, units, score_bytes)
        for pair in _search_block(index, block, k, exact_bytes)
    ]
    kept = min(k, len(index))
    rows = np.array([row for row, _ in neighbors], dtype=np.int64).reshape(-1, kept)
    similarity = np.array([value for _, value in neighbors], dtype=np.float64).reshape(-1, kept)
    return neighbors_at(index, rows, similarity)


def similarities(
    index: Index,
    query: NDArray[np.float64],
    rows: NDArray[np.int64],
    *,
    exact_bytes: int = EXACT_BYTES,
) -> NDArray[np.float64]:
    """Return the exact inner products (R,) float64 of one query of length 1 with these rows."""
    products = np.empty(len(rows))
    size = max(1, exact_bytes // (8 * index.dim))
    for start in range(0, len(rows), size):
        some = index.vectors[rows[start : start + size]].astype(np.float64)
        # Not a product of matrices: its order of summation depends on the number of rows.
        products[start : start + size] = (some * query).sum(axis=1)
    return products


def rows_of(index: Index, rows: NDArray[np.int64]) -> Index:
    """Return the index of some rows, given in increasing order; all of them give it back."""
    if len(rows) == len(index):
        return index
    labels = index.labels.iloc[rows].reset_index(drop=True)
    return replace(index, vectors=index.vectors[rows], labels=labels)


def check_same_embedder(index: Index, embedder: Embedder) -> None:
    """Raise MMHError unless this embedder made the index: others' similarities mean nothing."""
    if embedder.digest != index.digest:
        raise MMHError(
            f"The index was built with another embedder ({index.embedder}, {index.preprocessing}) "
            f"than {embedder.name} ({embedder.preprocessing}): build it again with this one."
        )


def unit_rows(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return rows of length 1 as float32; raises ValueError for zero rows, NaN and infinity."""
    units = np.empty(vectors.shape, dtype=np.float32)
    size = max(1, EXACT_BYTES // (8 * vectors.shape[1]))
    for start in range(0, len(vectors), size):
        units[start : start + size] = _lengths_one(vectors[start : start + size])
    return units


def checked_labels(labels: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the labels of `count` vectors with their columns in order; raises ValueError."""
    allowed = REQUIRED | OPTIONAL
    missing, strange = set(REQUIRED) - set(labels), set(labels) - set(allowed)
    if missing or strange:
        raise ValueError(
            f"labels have the columns {sorted(map(str, labels))}: they need {list(REQUIRED)} and "
            f"may have {list(OPTIONAL)}."
        )
    if len(labels) != count:
        raise ValueError(f"There are {len(labels)} labels for {count} vectors: one for each.")
    checked = labels[[name for name in allowed if name in labels]].reset_index(drop=True)
    if checked.isna().any(axis=None):
        raise ValueError("labels have missing values: write an empty text or a number.")
    checked = checked.astype({name: dtype for name, dtype in allowed.items() if name in checked})
    if not (checked["id"].is_monotonic_increasing and checked["id"].is_unique):
        raise ValueError("The ids in labels must increase from row to row.")
    if "copies" in checked and (checked["copies"] < 1).any():
        raise ValueError("copies in labels must be at least 1.")
    return checked


def _blocks(
    index: Index, queries: NDArray[np.float64], score_bytes: int
) -> Iterator[NDArray[np.float64]]:
    size = max(1, score_bytes // (4 * len(index)))
    for start in range(0, len(queries), size):
        yield queries[start : start + size]


def _search_block(
    index: Index, queries: NDArray[np.float64], k: int, exact_bytes: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    scores = queries.astype(np.float32) @ index.vectors.T
    # Both vectors have length 1, so the bound on the relative error is one on the error.
    slack = sum_error(index.dim, UNIT_32)
    for query, row in zip(queries, scores, strict=True):
        proposed = candidates(row, k, slack)
        rows, negated = ordered(
            -similarities(index, query, proposed, exact_bytes=exact_bytes), proposed, k
        )
        yield rows, -negated


def neighbors_at(
    index: Index, rows: NDArray[np.int64], similarity: NDArray[np.float64]
) -> Neighbors:
    """Return the training images at rows (Q, k) of an index, with their similarity (Q, k)."""

    def texts(name: str) -> tuple[tuple[str, ...], ...]:
        if name not in index.labels:
            return tuple(("",) * rows.shape[1] for _ in rows)
        # Taken once for all queries: pandas needs .1 ms for each time.
        texts_in_order = iter(index.labels[name].iloc[rows.ravel()].tolist())
        return tuple(tuple(islice(texts_in_order, rows.shape[1])) for _ in rows)

    return Neighbors(
        ids=torch.from_numpy(index.ids[rows]),
        rows=torch.from_numpy(rows),
        similarity=torch.from_numpy(similarity),
        multiplicity=torch.from_numpy(index.multiplicity[rows]),
        captions=texts("caption"),
        files=texts("file"),
        kinds=texts("kind"),
        searched=len(index),
    )


def _lengths_one(vectors: NDArray[Any]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("A descriptor is zero or not finite: it points nowhere.")
    units: NDArray[np.float64] = wide / lengths
    return units
