"""The search is exact: in any batch, with ties, copies and more neighbors than there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.retrieval.exact_top_k import UNIT_32, candidates, sum_error
from mmh_core.retrieval.index import (
    Index,
    build_index,
    check_same_embedder,
    rows_of,
    search,
)
from tests.retrieval.drawings import labels


@dataclass(frozen=True)
class Named:
    """Stand for an embedder where only what an index keeps of it matters."""

    dim: int
    name: str = "named"
    digest: str = "d1"
    preprocessing: str = "none"

    def __call__(self, images: Tensor) -> Tensor:
        raise NotImplementedError


def drawn(count: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def made(vectors: Tensor) -> Index:
    return build_index(vectors, labels(len(vectors)), Named(vectors.shape[1]))


def brute_force(
    index: Index, queries: Tensor, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return rows and similarities of a full search in float64, one inner product at a time."""
    wide = queries.numpy().astype(np.float64)
    units = wide / np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    found = np.array([[(v.astype(np.float64) * q).sum() for v in index.vectors] for q in units])
    order = np.array([sorted(range(len(index)), key=lambda i: (-row[i], i)) for row in found])
    return order[:, :k], np.take_along_axis(found, order[:, :k], axis=1)


def test_search_equals_brute_force_bit_for_bit() -> None:
    index, queries = made(drawn(500, 24)), drawn(9, 24, seed=1)
    found = search(index, queries, 7)
    rows, similarity = brute_force(index, queries, 7)
    assert np.array_equal(found.rows, rows)
    assert np.array_equal(found.similarity, similarity)
    assert found.searched == 500


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=1, max_size=20),
    k=st.integers(1, 25),
)
def test_ties_come_in_the_order_of_their_ids(points: list[list[int]], k: int) -> None:
    kept = [point for point in points if any(point)] or [[1, 0, 0]]
    index = made(torch.tensor(kept, dtype=torch.float32))
    queries = torch.tensor([[1.0, 0, 0], [1, 1, 0], [-1, 2, 1]])
    found = search(index, queries, k)
    rows, similarity = brute_force(index, queries, k)
    assert found.rows.shape == (3, min(k, len(kept)))
    assert np.array_equal(found.rows, rows)
    assert np.array_equal(found.similarity, similarity)


def test_copies_at_the_edge_of_the_result_are_told_apart_by_id_alone() -> None:
    # 40 copies of one vector, spread: a fast product may round them differently by place.
    vectors = drawn(300, 64)
    vectors[7::7] = vectors[0]
    found = search(made(vectors), vectors[:1] + 0.1 * drawn(1, 64, seed=3), 10)
    assert found.rows[0].tolist() == [0, *range(7, 70, 7)]
    assert (found.similarity[0] == found.similarity[0, 0]).all()


def test_nearer_than_float32_can_tell_is_still_ordered_exactly() -> None:
    # Similarities about 1e-7 apart, as far as the rounding of a float32 product moves them.
    vectors = drawn(1, 256) + 1e-4 * drawn(400, 256, seed=1)
    index, queries = made(vectors), drawn(1, 256) + 1e-4 * drawn(8, 256, seed=2)
    rows, similarity = brute_force(index, queries, 10)
    units = torch.nn.functional.normalize(queries, dim=1)
    fast = (units @ torch.from_numpy(index.vectors).T).topk(10).indices
    # The premise: some query loses one of its ten to rounding.
    assert any(set(a.tolist()) != set(b) for a, b in zip(fast, rows.tolist(), strict=True))
    found = search(index, queries, 10)
    assert np.array_equal(found.rows, rows)
    assert np.array_equal(found.similarity, similarity)


def test_one_query_at_a_time_gives_the_same_bits() -> None:
    index, queries = made(drawn(400, 33)), drawn(13, 33, seed=2)
    together = search(index, queries, 6)
    one_by_one = [search(index, query[None], 6) for query in queries]
    assert torch.equal(together.rows, torch.cat([each.rows for each in one_by_one]))
    assert torch.equal(together.similarity, torch.cat([each.similarity for each in one_by_one]))
    # Three queries a block, and two exact products.
    in_blocks = search(index, queries, 6, score_bytes=4 * 400 * 3, exact_bytes=8 * 33 * 2)
    assert torch.equal(in_blocks.rows, together.rows)
    assert torch.equal(in_blocks.similarity, together.similarity)


def test_the_bound_on_rounding_holds_and_is_no_larger_than_it_needs_to_be() -> None:
    vectors = torch.nn.functional.normalize(drawn(2_000, 256), dim=1)
    wide = vectors.double()
    error = ((vectors @ vectors.T).double() - wide @ wide.T).abs().max().item()
    assert error < sum_error(256, UNIT_32) < 2e-5  # Against similarities of order 1.


def test_candidates_are_the_best_and_all_that_rounding_may_have_put_below() -> None:
    scores = np.array([0.5, 0.9, 0.7, 0.69, 0.66, 0.7], dtype=np.float32)
    assert candidates(scores, 2, 0.0).tolist() == [1, 2, 5]
    assert candidates(scores, 2, 0.01).tolist() == [1, 2, 3, 5]
    assert candidates(scores, 9, 0.0).tolist() == [0, 1, 2, 3, 4, 5]


def test_lengths_do_not_matter() -> None:
    vectors, queries = drawn(50, 8), drawn(4, 8, seed=1)
    scaled = vectors * torch.linspace(0.1, 9, 50)[:, None]
    plain, other = search(made(vectors), queries, 5), search(made(scaled), 7 * queries, 5)
    assert torch.equal(plain.rows, other.rows)
    # Two roundings of a stored coordinate to float32.
    torch.testing.assert_close(plain.similarity, other.similarity, atol=2.4e-7, rtol=0)
    # A float32 coordinate is off by half a unit in the last place, 8 of them by less than this.
    lengths = np.linalg.norm(made(scaled).vectors.astype(np.float64), axis=1)
    assert np.abs(lengths - 1).max() < 1.2e-7


def test_the_frame_names_captions_files_kinds_and_copies() -> None:
    table = pd.DataFrame(
        {
            "caption": ["a", "b", "c"],
            "kind": ["open", "duplicate", "open"],
            "id": [3, 10, 11],
            "copies": [1, 40, 2],
            "file": ["a.png", "b.png", "c.png"],
        }
    )
    index = build_index(torch.eye(3), table, Named(3))
    found = search(index, torch.tensor([[0.0, 3.0, 4.0]]), 2)
    assert found.ids.tolist() == [[11, 10]] and found.multiplicity.tolist() == [[2, 40]]
    assert found.similarity.tolist() == [pytest.approx([0.8, 0.6])]
    assert (found.captions, found.files) == ((("c", "b"),), (("c.png", "b.png"),))
    assert found.kinds == (("open", "duplicate"),)
    plain = search(
        build_index(torch.eye(3), table[["id", "caption", "file"]], Named(3)),
        torch.tensor([[0.0, 3.0, 4.0]]),
        2,
    )
    assert plain.kinds == (("", ""),) and plain.multiplicity.tolist() == [[1, 1]]
    part = rows_of(index, np.array([0, 2]))
    assert search(part, torch.tensor([[0.0, 3.0, 4.0]]), 9).ids.tolist() == [[11, 3]]


def test_no_queries_give_no_rows() -> None:
    found = search(made(drawn(5, 4)), torch.empty(0, 4), 3)
    assert found.ids.shape == (0, 3)


@pytest.mark.parametrize(
    ("vectors", "match"),
    [
        (torch.zeros(3, 4), "zero or not finite"),
        (torch.full((3, 4), torch.nan), "zero or not finite"),
        (torch.full((3, 4), torch.inf), "zero or not finite"),
        (torch.ones(0, 4), r"must be \(N, 4\)"),
        (torch.ones(3, 5), r"must be \(N, 4\)"),
        (torch.ones(4), r"must be \(N, 4\)"),
    ],
)
def test_vectors_that_point_nowhere_are_refused(vectors: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build_index(vectors, labels(len(vectors)), Named(4))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"id": [0, 2, 1]}, "must increase"),
        ({"id": [0, 1, 1]}, "must increase"),
        ({"caption": ["a", None, "c"]}, "missing values"),
        ({"copies": [1, 0, 1]}, "at least 1"),
        ({"color": ["r", "g", "b"]}, "columns"),
    ],
)
def test_labels_that_do_not_fit_are_refused(change: dict[str, list[object]], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build_index(torch.eye(3), labels(3).assign(**change), Named(3))


def test_other_faults_are_named() -> None:
    index = made(drawn(5, 4))
    with pytest.raises(ValueError, match="2 labels for 3"):
        build_index(torch.eye(3), labels(2), Named(3))
    with pytest.raises(ValueError, match="columns"):
        build_index(torch.eye(3), labels(3).drop(columns="file"), Named(3))
    with pytest.raises(ValueError, match="k=0"):
        search(index, drawn(1, 4), 0)
    with pytest.raises(ValueError, match=r"must be \(Q, 4\)"):
        search(index, drawn(1, 5))
    with pytest.raises(ValueError, match="zero or not finite"):
        search(index, torch.zeros(1, 4))


def test_another_embedder_is_refused() -> None:
    index = made(drawn(5, 4))
    check_same_embedder(index, Named(4))
    with pytest.raises(MMHError, match=r"built with another embedder.*build it again"):
        check_same_embedder(index, Named(4, digest="d2"))
