"""Records come back bit for bit, and nothing but the right, whole file comes back at all."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmh_core.records import LidEstimate, ManifoldSamples, MMHError
from mmh_core.store import archive
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies.images.run import PromptScan
from mmh_core.studies.mitigation.benchmark_run import Caption, caption_record
from mmh_core.subject.copies import ImageCopyEvidence, TrainingNeighbor
from mmh_core.subject.detector_calibration import ReferenceMeasurements
from mmh_core.subject.image_lid import ImageLid
from tests.mitigation_runs import comparison


@dataclasses.dataclass(frozen=True)
class Leaf:
    """Hold one tensor and one number."""

    values: Tensor
    number: float


@dataclasses.dataclass(frozen=True)
class Tree:
    """Hold one field of every kind that is kept."""

    name: str
    count: int
    share: float
    done: bool
    nothing: float | None
    mean: Tensor
    leaf: Leaf
    maybe: Leaf | None
    missing: Leaf | None
    leaves: tuple[Leaf, ...]
    none: tuple[Leaf, ...]
    pair: tuple[int, Leaf]
    nested: tuple[tuple[str, ...], ...]
    optional: tuple[Leaf, ...] | None


@dataclasses.dataclass(frozen=True)
class Other:
    """Hold something else."""

    values: Tensor


def tree() -> Tree:
    """Return a record with every kind of tensor and number that may trouble a file."""
    base = torch.arange(6.0)
    return Tree(
        name="é \ud800 \n \x00",
        count=-(2**60),
        share=math.nan,
        done=True,
        nothing=None,
        mean=torch.tensor([0.1, -0.0, math.nan, math.inf, 1e-45]),
        leaf=Leaf(torch.tensor(7, dtype=torch.int8), -0.0),
        maybe=Leaf(torch.tensor([True, False]), math.inf),
        missing=None,
        leaves=(
            Leaf(torch.empty(0, 3), 0.1 + 0.2),
            Leaf(torch.empty(2, 0, dtype=torch.int64), -math.inf),
            Leaf(torch.tensor([1e300], dtype=torch.float64), 5e-324),
            Leaf(base, 1.0),
            Leaf(base[::2], 2.0),
            Leaf(base[:3], 3.0),
            Leaf(base.reshape(2, 3).T, 4.0),
        ),
        none=(),
        pair=(3, Leaf(torch.tensor([2.5], dtype=torch.bfloat16), 1.0)),
        nested=(("a", ""), ()),
        optional=(Leaf(torch.tensor([1], dtype=torch.uint8), 2.0),),
    )


def same(left: Any, right: Any) -> bool:
    """Tell whether two records agree in types, shapes and every bit."""
    if type(left) is not type(right):
        return False
    if isinstance(left, Tensor):
        alike = (left.dtype, left.shape) == (right.dtype, right.shape)
        flat = (t.contiguous().reshape(-1).view(torch.uint8) for t in (left, right))
        return alike and torch.equal(*flat)
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if dataclasses.is_dataclass(left):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in fields_of(left))
    if isinstance(left, float):
        return struct.pack("d", left) == struct.pack("d", right)
    return bool(left == right)


def fields_of(record: Any) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of a record."""
    return dataclasses.fields(record)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return the file of a small record."""
    path = tmp_path / "kept.safetensors"
    save_record(path, Leaf(torch.arange(100.0), 0.5))
    return path


def header(path: Path) -> dict[str, Any]:
    """Return the JSON header of a safetensors file."""
    data = path.read_bytes()
    found: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return found


def with_metadata(path: Path, metadata: dict[str, str] | None) -> None:
    """Write the file again with another header of the archive."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    entries = header(path) | {"__metadata__": metadata or {}}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


@pytest.mark.parametrize(
    ("earlier", "record"),
    [
        ("CopyFound", ImageCopyEvidence("none", "", 3, 0.5, 1.0, 1.0, 1, 0, 0.1, 0)),
        ("NeighborFound", TrainingNeighbor(3, 0.5, "", "", 1, torch.zeros(3, 2, 2))),
        ("ReferenceLids", ReferenceMeasurements("early_scan", torch.ones(1, 1, 2), 2.0, 0.0)),
    ],
)
def test_a_record_under_an_earlier_class_name_loads(
    tmp_path: Path, earlier: str, record: Any
) -> None:
    """Load the record that a file holds by an earlier name of its class."""
    names = [field.name for field in fields_of(record)]
    older = dataclasses.make_dataclass(earlier, names, frozen=True)
    save_record(tmp_path / "a.safetensors", older(*(getattr(record, name) for name in names)))
    assert same(load_record(tmp_path / "a.safetensors", type(record)), record)


@pytest.mark.parametrize(
    ("record", "earlier"),
    [
        (
            ImageLid(
                "flipd", "FLIPD", 0.1, 1.0, 0.2, 3.0, 0.4, 0.5, 6.0, 8, 4, 100, 20, 9.0, 30.0
            ),
            {
                "reference_images": "normals",
                "threshold": "level",
                "highest_reference": "highest",
            },
        ),
        (
            PromptScan(1.5, 0.9, 1.2, 0.01, 30, 36, 22, 35),
            {
                "flagged_memorized": "found",
                "memorized": "among",
                "flagged_paraphrases": "paraphrases_found",
            },
        ),
        (
            comparison().cells[0],
            {"explanation": "changed", "similarity_to_unmitigated": "moved"},
        ),
        (
            caption_record(comparison(), Caption("a red fox", "duplicate")),
            {"seed_similarity": "agreement", "similarity_to_unmitigated": "moved"},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_field_under_an_earlier_name_loads(
    tmp_path: Path, record: Any, earlier: dict[str, str]
) -> None:
    names = [field.name for field in fields_of(record)]
    older = dataclasses.make_dataclass(
        type(record).__name__, [earlier.get(name, name) for name in names], frozen=True
    )
    save_record(tmp_path / "a.safetensors", older(*(getattr(record, name) for name in names)))
    assert same(load_record(tmp_path / "a.safetensors", type(record)), record)


def test_a_record_comes_back_bit_for_bit(tmp_path: Path) -> None:
    record = tree()
    save_record(tmp_path / "a.safetensors", record)
    found = load_record(tmp_path / "a.safetensors", Tree)
    assert same(found, record)
    # The law above can fail: other bits of the same number, another type, another length.
    assert not same(found, dataclasses.replace(record, leaf=Leaf(record.leaf.values, 0.0)))
    assert not same(found, dataclasses.replace(record, share=0.0))
    assert not same(found, dataclasses.replace(record, leaves=record.leaves[:-1]))


def test_what_comes_back_is_free_of_the_file(kept: Path) -> None:
    found = load_record(kept, Leaf)
    found.values.zero_()
    kept.unlink()
    assert float(found.values.sum()) == 0.0


def test_records_of_this_project_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    lid = torch.tensor([1.0, 2.0])
    # One tensor in two fields: safetensors alone refuses that.
    estimate = LidEstimate(lid, lid, 9.0)
    save_record(path, estimate)
    assert same(load_record(path, LidEstimate), estimate)
    samples = ManifoldSamples("s", torch.ones(2, 3), lid, torch.tensor([0, 1]), ("a", "b"))
    save_record(path, samples)
    assert same(load_record(path, ManifoldSamples), samples)


def test_equal_records_make_equal_bytes(tmp_path: Path) -> None:
    """Eight files, because what comes in random order agrees by chance in one of two."""
    paths = [tmp_path / f"{i}.safetensors" for i in range(8)]
    for path in paths:
        save_record(path, tree())
    assert len({path.read_bytes() for path in paths}) == 1


def test_a_gradient_is_not_kept(tmp_path: Path) -> None:
    save_record(tmp_path / "a.safetensors", Leaf(torch.ones(2, requires_grad=True), 1.0))
    assert not load_record(tmp_path / "a.safetensors", Leaf).values.requires_grad


@pytest.mark.parametrize("record", [3, (1, 2), None, {"a": 1}, torch.ones(2), Leaf])
def test_only_records_are_kept(tmp_path: Path, record: object) -> None:
    with pytest.raises(TypeError, match="Only a record"):
        save_record(tmp_path / "a.safetensors", record)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [[1.0], {"a": 1}, 1j, b"x", {1}])
def test_a_field_of_another_type_is_refused_and_leaves_the_old_file(
    kept: Path, value: Any
) -> None:
    before = kept.read_bytes()
    with pytest.raises(TypeError, match=rf"/number holds a {type(value).__name__}"):
        save_record(kept, Leaf(torch.ones(1), value))
    assert kept.read_bytes() == before
    assert list(kept.parent.iterdir()) == [kept]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MMHError, match=r"^There is no file 'gone\.safetensors'\. Run"):
        load_record(tmp_path / "gone.safetensors", Leaf)


def test_every_flipped_bit_is_found(kept: Path) -> None:
    """Wherever the bit is: length, header, tree, checksum, padding between, numbers."""
    data = kept.read_bytes()
    for place in [*range(0, 8), *range(8, len(data), 13), len(data) - 1]:
        changed = bytearray(data)
        changed[place] ^= 1
        kept.write_bytes(bytes(changed))
        try:
            found = load_record(kept, Leaf)
        except MMHError as error:
            assert "'kept.safetensors'" in str(error)
        else:
            # Only the unused entry that keeps the file from being empty may change unseen.
            assert same(found, Leaf(torch.arange(100.0), 0.5)), place


def test_a_changed_number_fails_the_checksum(kept: Path) -> None:
    data = bytearray(kept.read_bytes())
    at = data.index(struct.pack("<f", 77.0))
    data[at : at + 4] = struct.pack("<f", 78.0)
    kept.write_bytes(bytes(data))
    with pytest.raises(MMHError, match="does not match its own checksum"):
        load_record(kept, Leaf)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_damaged(kept: Path, share: float) -> None:
    data = kept.read_bytes()
    kept.write_bytes(data[: int(share * len(data))])
    with pytest.raises(MMHError, match=r"^The file 'kept\.safetensors' is damaged"):
        load_record(kept, Leaf)


def write_pickle(path: Path) -> None:
    """Write what a careless loader would run."""
    path.write_bytes(pickle.dumps({"values": [1.0]}))


def write_torch(path: Path) -> None:
    """Write what torch.save writes."""
    torch.save({"values": torch.ones(1)}, path)


def make_folder(path: Path) -> None:
    """Put a folder in the place of the file."""
    path.mkdir()


@pytest.mark.parametrize("write", [write_pickle, write_torch, make_folder])
def test_other_things_under_that_name_are_refused(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "run.safetensors"
    write(path)
    with pytest.raises(MMHError, match=r"^The file 'run\.safetensors' is damaged .*\. Run the"):
        load_record(path, Leaf)


def test_a_foreign_or_older_file_is_of_another_version(kept: Path) -> None:
    whole = header(kept)["__metadata__"]
    for metadata in (None, {"format": "pt"}, {"mmh-record-0": whole[archive.FORMAT]}):
        with_metadata(kept, metadata)
        with pytest.raises(MMHError, match=r"holds no Leaf of this version\. Run"):
            load_record(kept, Leaf)
    with_metadata(kept, whole)
    assert float(load_record(kept, Leaf).values.sum()) == 4950.0


@pytest.mark.parametrize("text", ["", "0", "{}", "0 {}"])
def test_a_header_without_a_tree_is_refused(kept: Path, text: str) -> None:
    with_metadata(kept, {archive.FORMAT: text})
    with pytest.raises(MMHError, match="checksum"):
        load_record(kept, Leaf)


def test_another_kind_of_record_is_refused(kept: Path) -> None:
    with pytest.raises(MMHError, match="holds another kind of record than Other"):
        load_record(kept, Other)
    with pytest.raises(MMHError, match="holds another kind of record than LidEstimate"):
        load_record(kept, LidEstimate)


def test_a_file_of_an_older_tree_is_refused(kept: Path) -> None:
    """The same name with a field more or fewer is another record."""
    longer = dataclasses.make_dataclass(
        "Leaf", [("values", Tensor), ("number", float), ("added", float)], frozen=True
    )
    shorter = dataclasses.make_dataclass("Leaf", [("values", Tensor)], frozen=True)
    for kind in (longer, shorter):
        with pytest.raises(MMHError, match="holds another kind of record than Leaf"):
            load_record(kept, kind)
    save_record(kept, longer(torch.ones(1), 1.0, 2.0))
    with pytest.raises(MMHError, match="holds another kind of record than Leaf"):
        load_record(kept, Leaf)


def test_another_kind_with_the_same_fields_is_refused(kept: Path) -> None:
    twin = dataclasses.make_dataclass("Twin", [("values", Tensor), ("number", float)], frozen=True)
    with pytest.raises(MMHError, match="holds another kind of record than Twin"):
        load_record(kept, twin)


def test_a_new_field_is_not_made_up_from_its_default(kept: Path) -> None:
    newer = dataclasses.make_dataclass(
        "Leaf",
        [("values", Tensor), ("number", float), ("added", float, dataclasses.field(default=1.0))],
        frozen=True,
    )
    with pytest.raises(MMHError, match="holds another kind of record than Leaf"):
        load_record(kept, newer)


@pytest.mark.parametrize("unknown", [None, math.nan, "", ()])
def test_a_field_added_since_is_unknown_in_an_older_file(kept: Path, unknown: object) -> None:
    newer = dataclasses.make_dataclass(
        "Leaf",
        [
            ("values", Tensor),
            ("number", float),
            ("added", Any, dataclasses.field(default=unknown)),
        ],
        frozen=True,
    )
    found: Any = load_record(kept, newer)
    assert repr(found.added) == repr(unknown)
    assert torch.equal(found.values, load_record(kept, Leaf).values)


def test_a_record_that_refuses_its_values_is_another_kind(kept: Path) -> None:
    def refuse(self: object) -> None:
        raise ValueError("no")

    strict = dataclasses.make_dataclass(
        "Leaf",
        [("values", Tensor), ("number", float)],
        frozen=True,
        namespace={"__post_init__": refuse},
    )
    with pytest.raises(MMHError, match="holds another kind of record than Leaf"):
        load_record(kept, strict)


def test_a_place_that_cannot_be_written_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MMHError, match="could not be written"):
        save_record(tmp_path / "file" / "a.safetensors", Leaf(torch.ones(1), 1.0))
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(MMHError, match="could not be written"):
        save_record(tmp_path / "folder.safetensors", Leaf(torch.ones(1), 1.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.safetensors"]


def sealed(path: Path, tree: Any, kept: dict[str, Tensor]) -> None:
    """Write a record's file with any tree, with a digest that matches it."""
    from safetensors.torch import save

    text = json.dumps(tree)
    header = {archive.FORMAT: f"{archive._digest(text, kept)} {text}"}
    path.write_bytes(save(kept or {"_": torch.zeros(1)}, header))


def test_a_sealed_record_whose_leaves_have_other_types_is_a_sentence(tmp_path: Path) -> None:
    import random

    from tests.formats.test_untrusted import mutated

    tensors: dict[str, Tensor] = {}
    whole = archive._pack(tree(), "", tensors)
    path = tmp_path / "record.safetensors"
    sealed(path, whole, tensors)
    assert same(load_record(path, Tree), tree())
    draw = random.Random(0)
    hints: dict[str, Any] = {"name": str, "count": int, "share": int | float, "done": bool}
    refused = 0
    for _ in range(400):
        sealed(path, mutated(whole, draw), tensors)
        try:
            found: Any = load_record(path, Tree)
        except MMHError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert all(isinstance(getattr(found, name), kind) for name, kind in hints.items())
            assert isinstance(found.leaf.values, Tensor) and isinstance(found.leaves, tuple)
    assert refused > 200
    odd: Any
    for odd in ([], None, 1, "x", {"tensor": "/mean"}, {"record": "Tree"}, {"fields": {}}):
        sealed(path, odd, tensors)
        with pytest.raises(MMHError):
            load_record(path, Tree)
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    sealed(path, {**whole, "fields": {**whole["fields"], "name": deep}}, tensors)
    with pytest.raises(MMHError, match="another kind of record"):
        load_record(path, Tree)
