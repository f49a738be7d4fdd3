"""Time the review: tables of prompts, searches in a queue, verdicts, whole pages, scan shards.

Run `python benchmarks/review.py [--items 10000] [--rows 1000000] [--json FILE]`. Times are medians
and the most of repeated calls, each with its own connection, as a page makes them; a verdict
includes waiting for the disk, and a page is a whole run of its script. Beside them the processor's
time, which does not depend on what else the machine is doing. Memory is the growth of the process,
by the operating system, from before to the most while the rows were read.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mmh_core.store.item_search import ItemFilter, items_page, next_item
from mmh_core.store.log_chain import verify
from mmh_core.store.prompt_table import prompt_batches
from mmh_core.store.queues import create_queue, queue_progress
from mmh_core.store.review_log import ReviewTarget, judge
from mmh_core.store.review_records import REVIEW_VERDICTS, ReviewItem
from mmh_core.store.review_schema import open_queues
from mmh_core.store.shards import ScanRow, read_rows, scan_folder, scan_manifest
from mmh_core.store.sqlite_file import SqliteFile

Row = tuple[str, float, float, float, str]


def items(count: int) -> Iterator[ReviewItem]:
    """Yield items as a scan makes them, with thumbnails of 4 kB."""
    chance = random.Random(0)
    for number in range(count):
        yield ReviewItem(
            f"a {chance.choice(['red', 'blue', 'green'])} thing, number {number}, painted",
            (0, 1, 2, 3),
            "pocket",
            "ab" * 32,
            score=chance.random(),
            lid=chance.uniform(0, 60),
            lid_percentile=chance.random(),
            similarity=chance.random(),
            nearest=chance.randrange(10_000),
            cause=chance.choice(["OD-Mem", "DD-Mem", "not memorized"]),
            kind=chance.choice(["exact", "template", "none"]),
            scores=(("norm", chance.random()),),
            thumbnail=chance.randbytes(4096),
            run=f"run-{number}.safetensors",
        )


def timed(name: str, call: Callable[[int], object], times: int, bar: str) -> Row:
    """Return median and most milliseconds of a call that is given the number of its turn."""
    taken, worked = [], []
    for turn in range(times):
        started, working = time.perf_counter(), time.process_time()
        call(turn)
        taken.append(1000 * (time.perf_counter() - started))
        worked.append(1000 * (time.process_time() - working))
    return name, statistics.median(taken), max(taken), statistics.median(worked), bar


def searches(file: SqliteFile, queue: str) -> Iterator[Row]:
    """Time what a page asks for: pages of filters, and the next item."""
    filters = {
        "all, in order": ItemFilter(),
        "by score, page 100": ItemFilter(order="score", descending=True),
        "score above 0.9": ItemFilter(least=0.9, order="score", descending=True),
        "cause, kind, not judged": ItemFilter(
            causes=("OD-Mem",), kinds=("exact",), verdicts=(None,), order="lid_percentile"
        ),
        "free text": ItemFilter(text="number 77", order="similarity"),
        "free text in every item": ItemFilter(text="thing", order="score"),
    }
    for name, chosen in filters.items():
        offset = 5_000 if "page" in name else 0

        def page(turn: int, chosen: ItemFilter = chosen, offset: int = offset) -> object:
            return items_page(file, queue, chosen, "ann", offset=offset)

        def following(turn: int, chosen: ItemFilter = chosen) -> object:
            return next_item(file, queue, chosen, "ann", after=1 + turn)

        yield timed(f"page of 50: {name}", page, 15, "50 ms")
        yield timed(f"next item: {name}", following, 15, "50 ms")
    yield timed("progress", lambda turn: queue_progress(file, queue, "ann"), 15, "50 ms")


def queue_rows(folder: Path, count: int) -> Iterator[Row]:
    """Time a queue of so many items, half of it judged."""
    file = open_queues(folder / "review.sqlite")
    made: list[str] = []

    def fill(turn: int) -> None:
        queue = create_queue(
            file, "benchmark", model="pocket", model_sha256="ab" * 32, items=items(count)
        )
        made.append(queue.id)

    yield timed(f"fill a queue with {count:,} items", fill, 1, "-")
    [queue] = made

    def verdict(turn: int) -> None:
        judge(file, ReviewTarget(queue, 1 + 2 * turn, "ann", 0), REVIEW_VERDICTS[turn % 5])

    yield timed("verdict, on the disk", verdict, min(200, count // 2), "50 ms")
    yield from searches(file, queue)
    yield timed("verify the log", lambda turn: verify(file, queue), 3, "-")


def page_rows(folder: Path, count: int) -> Iterator[Row]:
    """Time whole runs of the page's script on a queue of so many items, as a browser causes them.

    Through Streamlit's own test harness, which sends nothing over a network.
    """
    from streamlit.testing.v1 import AppTest

    sys.argv = ["app.py", "--data", str(folder)]
    logging.disable(logging.WARNING)  # Of Streamlit, that there is no server.
    some = (replace(one, model="pocket-sd", nearest=one.nearest % 6_000) for one in items(count))
    create_queue(
        open_queues(folder / "review.sqlite"),
        "benchmark",
        model="pocket-sd",
        model_sha256="ab" * 32,
        settings={"demonstration": True},
        items=some,
    )

    def opened(**link: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "pages" / "review.py"), default_timeout=120)
        app.session_state["rv_name"] = "ann"  # Nobody judges without a name.
        for name, value in link.items():
            app.query_params[name] = value
        return app.run()

    def judge_next() -> AppTest:
        # Without its images an item may be given up, and nothing else be said of it.
        given = [one for one in judging.button if str(one.key).startswith("rv_give_")]
        return next(one for one in given if not one.disabled).click().run()

    judging, listing = opened(item="5"), opened(tab="table")
    texts = ("thing", "number 77", "")
    calls: dict[str, Callable[[int], AppTest]] = {
        "page: verdict and next item": lambda _: judge_next(),
        "page: next item": lambda _: judging.button(key="rv_Next").click().run(),
        "page: filter of the table": lambda turn: (
            listing.text_input(key="rv_text").set_value(texts[turn % 3]).run()
        ),
        "page: order of the table": lambda turn: (
            listing.selectbox(key="rv_order").set_value(("score", "lid")[turn % 2]).run()
        ),
    }
    for name, call in calls.items():
        yield timed(name, call, 15, "300 ms")
    if judging.exception or listing.exception:
        raise SystemExit("The page failed: run it in a browser and see the log.")


def table_rows(path: Path) -> int:
    """Read a table of prompts and return the number of good rows."""
    return sum(len(batch.rows) for batch in prompt_batches(path))


def memory_of(what: str, path: Path) -> tuple[float, float]:
    """Return seconds and MiB of growth of a reader in a process of its own."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from benchmarks.review import grown;"
        "grown(sys.argv[2], sys.argv[3])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), what, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, mebibytes = map(float, found.stdout.split())
    return seconds, mebibytes


def grown(what: str, path: str) -> None:
    """Print seconds and MiB of growth while a table or scan is read."""
    before = most_memory()
    started = time.perf_counter()
    if what == "table":
        table_rows(Path(path))
    else:
        for _ in read_rows(Path(path)):
            continue
    print(time.perf_counter() - started, most_memory() - before)


def most_memory() -> float:
    """Return the most MiB that this process ever had (Linux)."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def write_tables(folder: Path, count: int) -> dict[str, Path]:
    """Write so many prompts as CSV, as Parquet and as a scan."""
    import pyarrow as pa
    from pyarrow import parquet

    prompts = [f"a painting of thing number {number} in a red room" for number in range(count)]
    (folder / "prompts.csv").write_text("prompt\n" + "\n".join(prompts) + "\n")
    parquet.write_table(pa.table({"prompt": prompts}), folder / "prompts.parquet")
    manifest = scan_manifest("pocket", "ab" * 32, {}, {"score": "float"})
    with scan_folder(folder / "scan", manifest) as into:
        for start in range(0, count, 10_000):
            some = prompts[start : start + 10_000]
            into.write([ScanRow(prompt, (0,), {"score": 0.5}) for prompt in some])
    return {
        "table, CSV": folder / "prompts.csv",
        "table, Parquet": folder / "prompts.parquet",
        "scan": folder / "scan",
    }


def main() -> None:
    """Measure, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        print(f"| with {options.items:,} items | ms, median | most | of the processor | bar |")
        print("|---|---|---|---|---|")
        page = Path(folder) / "page"
        for row in chain(queue_rows(Path(folder), options.items), page_rows(page, options.items)):
            rows.append(row)
            print(
                f"| {row[0]} | {row[1]:.1f} | {row[2]:.1f} | {row[3]:.1f} | {row[4]} |", flush=True
            )
        memory = []
        print("\n| read | rows | seconds | MiB of memory |\n|---|---|---|---|")
        for count in (options.rows // 10, options.rows):
            place = Path(folder) / str(count)
            place.mkdir()
            for name, path in write_tables(place, count).items():
                found = memory_of(name.split(",")[0], path)
                memory.append((name, count, *found))
                print(f"| {name} | {count:,} | {found[0]:.1f} | {found[1]:.1f} |", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps({"queue": rows, "memory": memory}, indent=2) + "\n")


if __name__ == "__main__":
    main()
