"""Build an index from a folder of pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmh_core.records import MMHError, Progress
from mmh_core.retrieval.captions import check_matches, read_captions
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.index import Index, build_index
from mmh_core.retrieval.pictures import picture_files, read_picture

if TYPE_CHECKING:
    import pandas as pd

#: Pixels embedded at a time.
BATCH_PIXELS = 2**22
BATCH_SIZE = 64
SHOWN = 5  # damaged pictures in a message


@dataclass(frozen=True)
class FolderIndex:
    """Hold what became of a folder: the index, None until all is read, and what was left out.

    `damaged` names the files that cannot be read, each with the sentence that says why;
    `read` counts pictures, and `exact_copies` those whose pixels an earlier file has as well.
    """

    index: Index | None
    read: int
    exact_copies: int
    damaged: tuple[tuple[str, str], ...]


def index_folder(
    folder: Path, embedder: Embedder, *, captions: Path | None = None, skip_damaged: bool = False
) -> Iterator[Progress[FolderIndex]]:
    """Describe every picture in a folder and below it; the last record yielded holds the index.

    Ids count the files in the order of their names; `file` is the path below `folder`, `caption`
    comes from the table if there is one (see `read_captions`). Pictures are held in memory a batch
    at a time, the descriptors all.

    Raises MMHError for a folder without pictures, for captions that do not match the files, for
    damaged pictures unless they are to be skipped (after reading all, so that the message counts
    them), and where none can be read.
    """
    files, texts = _captioned(folder, captions)
    kept, seen, damaged = list[int](), set[bytes](), list[tuple[str, str]]()
    vectors, batch = list[Tensor](), list[Tensor]()
    for number, name in enumerate(files):
        try:
            picture = read_picture(folder / name)
        except MMHError as error:
            damaged.append((name, str(error)))
        else:
            if skip_damaged or not damaged:
                if batch and not _joins(picture, batch):
                    vectors.append(embedder(torch.stack(batch)))
                    batch = []
                batch.append(picture)
            kept.append(number)
            seen.add(_content(picture))
        done = FolderIndex(None, len(kept), len(kept) - len(seen), tuple(damaged))
        message = f"{number + 1:,} of {len(files):,} pictures"
        yield Progress((number + 1) / (len(files) + 1), message, done)
    if damaged and not (skip_damaged and kept):
        raise MMHError(_refusal(damaged, len(files), skip_damaged))
    vectors.append(embedder(torch.stack(batch)))
    index = build_index(torch.cat(vectors), _labels(kept, files, texts), embedder)
    yield Progress(1.0, f"{len(index):,} pictures indexed", replace(done, index=index))


def _captioned(folder: Path, captions: Path | None) -> tuple[list[str], dict[str, str]]:
    """Return the pictures, as paths below the folder, and the captions by such paths."""
    files = [path.relative_to(folder).as_posix() for path in picture_files(folder)]
    if not files:
        raise MMHError(
            f"{folder} holds no pictures: name a folder with PNG, JPEG, WebP, BMP or GIF files."
        )
    if captions is None:
        return files, {}
    texts = read_captions(captions)
    check_matches(texts, files, captions)
    return files, texts


def _labels(kept: list[int], files: list[str], texts: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    names = [files[number] for number in kept]
    return pd.DataFrame(
        {"id": kept, "caption": [texts.get(name, "") for name in names], "file": names}
    )


def _joins(picture: Tensor, batch: list[Tensor]) -> bool:
    """Tell whether a picture may be embedded together with those: same size, not too many."""
    pixels = (len(batch) + 1) * picture[0].numel()
    return picture.shape == batch[0].shape and pixels <= BATCH_PIXELS and len(batch) < BATCH_SIZE


def _content(picture: Tensor) -> bytes:
    """Return a digest of the pixels and the size."""
    return hashlib.sha256(f"{tuple(picture.shape)}".encode() + picture.numpy().tobytes()).digest()


def _refusal(damaged: list[tuple[str, str]], count: int, skipping: bool) -> str:
    listed = "; ".join(reason.rstrip(".") for _, reason in damaged[:SHOWN])
    more = f"; and {len(damaged) - SHOWN:,} more" if len(damaged) > SHOWN else ""
    advice = "name another folder" if skipping else "mend them, or skip them with --skip-damaged"
    return f"{len(damaged):,} of {count:,} pictures cannot be read ({listed}{more}): {advice}."
