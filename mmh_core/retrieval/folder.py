"""Build an index from a folder of images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmh_core.counting import agreeing, plural
from mmh_core.records import MMHError, Progress
from mmh_core.retrieval.caption_match import captions_beside, matched
from mmh_core.retrieval.captions import CaptionTable, FolderCaptions
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.folder_files import FolderFiles, SkippedFile, folder_files, named
from mmh_core.retrieval.image_content import NAMED
from mmh_core.retrieval.image_names import printable_path
from mmh_core.retrieval.images import RefusedImage, read_image
from mmh_core.retrieval.index import Index, build_index
from mmh_core.retrieval.index_files import check_place, save_index

if TYPE_CHECKING:
    import pandas as pd

#: Pixels embedded at a time.
BATCH_PIXELS = 2**22
BATCH_SIZE = 64
#: Files between two records of progress while a folder is looked through.
STEP = 1000


@dataclass(frozen=True)
class FolderIndex:
    """The index of a folder, None until all is read, with the count of files left out.

    `files` counts all files, `read` those that are indexed, and `left_out`, empty until the end,
    holds the others, each with its reason: `files == read + len(left_out)`. `exact_copies`, 0
    until the end, counts the images whose pixels an earlier file has as well, `outside` those
    behind links out of the folder. `captions` says where captions came from and which are missing.
    """

    index: Index | None
    files: int
    read: int
    exact_copies: int
    outside: int
    left_out: tuple[SkippedFile, ...]
    captions: FolderCaptions = field(default_factory=FolderCaptions)

    @property
    def lost(self) -> tuple[SkippedFile, ...]:
        """Return the images of the set that are not indexed: damaged ones, other formats, ..."""
        return tuple(entry for entry in self.left_out if entry.lost)

    def frame(self) -> pd.DataFrame:
        """Return one row per file: its caption where it is indexed, else the reason why not."""
        import pandas as pd

        rows = [
            {"file": entry.file, "caption": "", "reason": entry.reason} for entry in self.left_out
        ]
        if self.index is not None:
            labels = self.index.labels
            pairs = zip(labels["file"], labels["caption"], strict=True)
            rows = [{"file": f, "caption": c, "reason": ""} for f, c in pairs] + rows
        table = pd.DataFrame(rows, columns=["file", "caption", "reason"])
        table.insert(1, "indexed", table.reason == "")
        return table


def index_folder(
    folder: Path,
    embedder: Embedder,
    *,
    captions: CaptionTable | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Progress[FolderIndex]]:
    """Describe every image in a folder and below it; the last record yielded holds the index.

    What is an image is decided by content. What cannot be read is left out, with its reason, and
    the rest is indexed. Ids count the images in the order of their names, damaged ones included;
    `file` is the name below `folder`, as `image_names.escaped` writes it; `caption` comes from the
    table, or without one from what lies beside the images (see `captions`). Images are held in
    memory a batch of at most `batch_size` at a time, the descriptors all.

    Raises MMHError for a folder without images, for captions of other images, and where none can
    be read.
    """
    files_or_count: FolderFiles | int = 0
    counted = 0
    for files_or_count in folder_files(folder):
        if isinstance(files_or_count, int) and files_or_count - counted >= STEP:
            counted, empty = files_or_count, FolderIndex(None, files_or_count, 0, 0, 0, ())
            yield Progress(0.0, f"Looking through the folder: {files_or_count:,} files", empty)
    if isinstance(files_or_count, int):
        raise ValueError("folder_files yielded no list.")
    yield from _described(
        folder,
        files_or_count,
        embedder,
        _captions(captions, folder, files_or_count),
        batch_size,
    )


def write_index(
    folder: Path, out: Path, embedder: Embedder, *, captions: CaptionTable | None = None
) -> Iterator[Progress[FolderIndex]]:
    """Index a folder as `index_folder` does, and write the index to `out`; for command and app.

    Errors: MMHError of both, also for a place where no index may be written.
    """
    check_place(out)
    for progress in index_folder(folder, embedder, captions=captions):
        yield progress
        indexed = progress.partial
        if indexed.index is not None:
            save_index(indexed.index, out, files=indexed.files, left_out=indexed.left_out)


def summary(index: FolderIndex) -> str:
    """Return in a line how many files are indexed, and what else there is, by kind and name."""
    line = f"{index.read:,} of {index.files:,} files are indexed."
    if index.left_out:
        line += f" Not indexed: {by_kind(index.left_out)}."
    if index.outside:
        line += (
            f" {index.outside:,} of the images {agreeing(index.outside, 'lies', 'lie')} outside "
            "the folder, behind links that no audit follows: copy the images in, or index the "
            "folder that they lie in."
        )
    return line


def by_kind(left_out: Sequence[SkippedFile]) -> str:
    """Return the kinds of files with their counts and first names, lost images first."""
    kinds: dict[str, list[str]] = {}
    for entry in sorted(left_out, key=lambda entry: not entry.lost):
        kinds.setdefault(entry.kind, []).append(entry.file)
    return "; ".join(
        f"{_counted(kind, len(names))} ({named(names)})" for kind, names in kinds.items()
    )


def _described(
    folder: Path,
    files: FolderFiles,
    embedder: Embedder,
    captions: FolderCaptions,
    batch_size: int,
) -> Iterator[Progress[FolderIndex]]:
    kept, digests, left_out = list[int](), list[bytes](), list(files.left_out)
    vectors, batch = list[Tensor](), list[Tensor]()
    count, outside = len(files.images), set(files.outside)
    total = count + len(left_out)
    for number, (name, path) in enumerate(files.images):
        try:
            image = read_image(path)
        except RefusedImage as error:
            left_out.append(SkippedFile(name, error.kind, str(error), lost=True))
            outside.discard(name)
        else:
            if batch and not (len(batch) < batch_size and _joins(image, batch)):
                vectors.append(embedder(torch.stack(batch)))
                batch = []
            batch.append(image)
            kept.append(number)
            digests.append(_content(image))
        done = FolderIndex(None, total, len(kept), 0, len(outside), ())
        yield Progress((number + 1) / (count + 1), f"{number + 1:,} of {count:,} images", done)
    if not kept:
        raise MMHError(
            f"None of the {count:,} images in {printable_path(folder)} can be read "
            f"({by_kind(left_out)}; the first: {left_out[-1].reason.rstrip('.')}): name another "
            "folder."
        )
    vectors.append(embedder(torch.stack(batch)))
    descriptors = torch.cat(vectors)
    # A descriptor that points nowhere would stop the index at its end.
    usable = (descriptors.isfinite().all(dim=1) & (descriptors != 0).any(dim=1)).tolist()
    for number, whole in zip(kept, usable, strict=True):
        if not whole:
            name = files.images[number][0]
            reason = f"{name} has a descriptor that is zero or not finite by {embedder.name}."
            left_out.append(SkippedFile(name, "image without a descriptor", reason, lost=True))
            outside.discard(name)
    if not any(usable):
        raise MMHError(
            f"The embedder {embedder.name} gave no descriptor that is finite and not zero for any "
            f"of the {len(kept):,} images: check its weights, or choose another embedder."
        )
    kept = list(compress(kept, usable))
    names = [files.images[number][0] for number in kept]
    contents = list(compress(digests, usable))
    labels = _labels(kept, names, captions.texts, contents)
    index = build_index(descriptors[usable], labels, embedder)
    copies = len(kept) - len(set(contents))
    listed = tuple(sorted(map(_as_captions(captions), left_out), key=lambda entry: entry.file))
    caption_summary = captions.of_indexed(names)
    done = FolderIndex(index, total, len(kept), copies, len(outside), listed, caption_summary)
    yield Progress(1.0, f"{len(index):,} images indexed", done)


def _as_captions(captions: FolderCaptions) -> Callable[[SkippedFile], SkippedFile]:
    """Return a function that names a left-out file of captions as such."""
    return lambda entry: (
        replace(entry, kind="caption file", reason=f"{entry.file} was read for its captions.")
        if entry.file in captions.used
        else entry
    )


def _captions(captions: CaptionTable | None, folder: Path, files: FolderFiles) -> FolderCaptions:
    """Return the captions of the table, or without one those beside the images."""
    if not files.images:
        others = f" ({by_kind(files.left_out)})" if files.left_out else ""
        raise MMHError(
            f"{printable_path(folder)} holds no images that can be read{others}: name a folder "
            f"with {NAMED} files."
        )
    names = [name for name, _ in files.images]
    return captions_beside(folder, names) if captions is None else matched(captions, names, folder)


def _labels(
    kept: list[int], names: list[str], texts: dict[str, str], contents: list[bytes]
) -> pd.DataFrame:
    """Return the labels of images; `copies` counts the files with the same pixels."""
    import pandas as pd

    times = Counter(contents)
    return pd.DataFrame(
        {
            "id": kept,
            "caption": [texts.get(name, "") for name in names],
            "file": names,
            "copies": [times[content] for content in contents],
        }
    )


def _joins(image: Tensor, batch: list[Tensor]) -> bool:
    """Return whether an image may be embedded in the same batch: same size, not too many."""
    pixels = (len(batch) + 1) * image[0].numel()
    return image.shape == batch[0].shape and pixels <= BATCH_PIXELS


def _content(image: Tensor) -> bytes:
    """Return a digest of the pixels and the size."""
    return hashlib.sha256(f"{tuple(image.shape)}".encode() + image.numpy().tobytes()).digest()


def _counted(kind: str, count: int) -> str:
    """Return a number of files of a kind: the noun before "without" takes the plural."""
    noun, *rest = kind.split(" without ")
    return " without ".join([plural(count, noun), *rest])
