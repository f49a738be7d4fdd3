"""Measure how well the training set alone says what is repeated, on the second world.

Run `python benchmarks/cause_data.py [--json FILE] [--each N]`. It renders the training images of
the second world, describes them by its descriptor, and asks `subject.neighborhood` of one image of
each held-out caption whether the data LID is 0 or low there: exact duplicates (8 copies or more),
near-duplicates, templates, and images that stand once (those of the small training sets, open
ones, and captions of many different images, LID* at least 5). No denoiser is needed. Nothing is
fitted on these captions; the correlation of near-duplicates was chosen on the other half.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from mmh_core.pocket.descriptor import Descriptor
from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.images import open_images, row_images
from mmh_core.pocket.second.plan import SecondConfig
from mmh_core.pocket.second.sets import draw_entries, small_entries
from mmh_core.pocket.second.tables import Tables, build_tables
from mmh_core.pocket.second.truth import WIDE, caption_truths
from mmh_core.retrieval.embedders import PixelEmbedder
from mmh_core.retrieval.index import Index
from mmh_core.statistics.intervals import Interval, share_interval
from mmh_core.subject.neighborhood import training_neighborhood
from mmh_core.subject.training_set import TrainingSet

DESCRIPTOR = Path(__file__).resolve().parent.parent / "assets" / "second-world" / "descriptor.pt"
#: Open images beside the rows of the table: no network sees those of this range.
OPEN_START, OPEN = 5_000_000, 4_000
SMALL, DUPLICATED, BATCH = 400, 8, 256


@dataclass(frozen=True)
class Group:
    """Images of one kind: how many there are, and the share told as their kind asks."""

    name: str
    narrow: bool
    count: int
    right: Interval


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and return 1 where the balanced accuracy is below .9."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--each", type=int, default=100, help="at most so many images of a kind")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    groups = measured(build_tables(0), options.each)
    print("| images | count | data LID told as it is | 95 % interval |\n|---|---|---|---|")
    for group in groups:
        right = group.right
        print(
            f"| {group.name} | {group.count} | {right.value:.3f} | "
            f"{right.low:.3f} to {right.high:.3f} |"
        )
    kinds = [[g.right.value for g in groups if g.narrow == narrow] for narrow in (True, False)]
    worst = (sum(kinds[0]) / len(kinds[0]) + min(kinds[1])) / 2
    print(f"\nBalanced accuracy against the hardest images that stand once: {worst:.3f}")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(group) for group in groups], indent=1) + "\n")
    return 0 if worst >= 0.9 else 1


def measured(tables: Tables, each: int) -> list[Group]:
    """Return the groups of the whole training set and of the small one."""
    rows = tables.rows.copy()
    for name in ("role", "split"):
        rows[name] = tables.captions[name].to_numpy()[rows.caption]
    opened = [one.scene for one in open_images(tables, OPEN_START, OPEN)]
    images = as_images(np.concatenate([row_images(tables, range(len(rows))), draw_all(opened)]))
    copies = np.concatenate([rows.copies.to_numpy(), np.ones(OPEN, np.int64)])
    whole = searched(images, copies)
    tested = rows[rows.split == "test"].groupby("caption").sample(1, random_state=0)
    unique = tested.caption[tested.role == "unique"].tolist()
    lids = {truth.caption: truth.lid for truth in caption_truths(tables, unique)}
    wide = tested.caption.map(lids) >= WIDE
    chosen = {
        ("exact duplicates", True): (tested.role == "exact") & (tested.copies >= DUPLICATED),
        ("near-duplicates", True): tested.role == "near",
        ("templates", True): tested.role == "template",
        ("many images of a caption, each once", False): (tested.role == "unique") & wide,
    }
    groups = [
        group(whole, name, narrow, tested.index[mask].to_numpy()[:each])
        for (name, narrow), mask in chosen.items()
    ]
    places = len(rows) + np.linspace(0, OPEN - 1, each).astype(int)
    groups.append(group(whole, "open images, each once", False, places))
    entries = small_entries(tables)
    kept = np.flatnonzero(entries.rank < SMALL)
    drawn = as_images(draw_entries(tables, entries))[torch.from_numpy(kept)]
    small = searched(drawn, np.ones(len(kept), np.int64))
    test = tables.captions["split"].to_numpy()[entries.caption[kept]] == "test"
    name = f"small set of {SMALL}, each once"
    return [*groups, group(small, name, False, np.flatnonzero(test)[:each])]


def group(training_set: TrainingSet, name: str, narrow: bool, rows: np.ndarray) -> Group:
    """Return how many of some rows are told as they are."""
    narrows = [training_neighborhood(training_set, int(row)).narrow for row in rows]
    right = sum(one == narrow for one in narrows)
    return Group(name, narrow, len(narrows), share_interval(right, len(narrows)))


def searched(images: Tensor, copies: np.ndarray) -> TrainingSet:
    """Return images (N, 3, 64, 64) as a training set, described by the second world's network."""
    config = SecondConfig().descriptor
    network = Descriptor(config.channels, config.width, images.shape[-1])
    network.load_state_dict(torch.load(DESCRIPTOR, weights_only=True)["averaged"])
    with torch.no_grad():
        vectors = torch.cat([network(part.float() / 255) for part in torch.split(images, BATCH)])
    labels = pd.DataFrame({"id": range(len(images)), "caption": "", "file": "", "copies": copies})
    index = Index(vectors.numpy(), labels, "second world", "", "")
    return TrainingSet("", index, PixelEmbedder(), lambda row: images[row].contiguous())


def as_images(drawn: np.ndarray) -> Tensor:
    """Return uint8 images (N, 3, H, W) of arrays (N, H, W, 3)."""
    return torch.from_numpy(drawn).permute(0, 3, 1, 2)


if __name__ == "__main__":
    sys.exit(main())
