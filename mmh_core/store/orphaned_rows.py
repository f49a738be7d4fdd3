"""Orphaned rows: rows of a file of queues whose queue is gone."""

from __future__ import annotations

from dataclasses import dataclass

from mmh_core.counting import agreeing
from mmh_core.installation import PROGRAM
from mmh_core.store.sqlite_file import SqliteFile


@dataclass(frozen=True)
class OrphanedRows:
    """The counts of rows that belong to no queue, and of queues that are gone.

    `removed` counts queues that `remove_queue`, or somebody with a tool of SQLite, took out; those
    made after the last one that is here leave no trace. The other counts are of rows whose queue
    is gone without them, which `remove_queue` never leaves.
    """

    items: int
    verdicts: int
    judgements: int
    thumbnails: int
    removed: int

    @property
    def sentence(self) -> str:
        """Return what proves that a queue was taken out by hand, "" where nothing does."""
        if not self.items and not self.verdicts and not self.judgements:
            return ""
        return (
            f"{self.items:,} items, {self.verdicts:,} rows of verdicts and {self.judgements:,} "
            "judgements belong to no queue: the record of a queue was taken out of the file by "
            f"other means than `{PROGRAM} review remove`. Restore the file from a backup."
        )

    @property
    def warning(self) -> str:
        """Return what is worth knowing and proves nothing, "" for nothing."""
        sentences = []
        if self.removed:
            were = agreeing(self.removed, "queue was", "queues were")
            sentences.append(f"{self.removed:,} {were} removed before the newest one was made")
        if self.thumbnails:
            are = agreeing(self.thumbnails, "thumbnail is", "thumbnails are")
            sentences.append(f"{self.thumbnails:,} {are} of no item")
        return "; ".join(sentences) + "." if sentences else ""


def find_orphaned_rows(file: SqliteFile) -> OrphanedRows:
    """Return the counts of orphaned rows of a file. Raises MMHError for a damaged file."""
    orphaned = "SELECT COUNT(*) FROM {} WHERE queue NOT IN (SELECT number FROM queues)"
    with file.connection("ro") as connection:
        connection.execute("BEGIN")  # One moment of the file, whoever writes meanwhile.
        items, verdicts, judgements = (
            int(connection.execute(orphaned.format(table)).fetchone()[0])
            for table in ("items", "verdicts", "judgements")
        )
        (thumbnails,) = connection.execute(
            "SELECT COUNT(*) FROM thumbnails WHERE sha256 NOT IN "
            "(SELECT thumbnail FROM items WHERE thumbnail IS NOT NULL)"
        ).fetchone()
        # SQLite gives a new row the highest number and one more.
        (removed,) = connection.execute(
            "SELECT COALESCE(MAX(number), 0) - COUNT(*) FROM queues WHERE number > 0"
        ).fetchone()
    return OrphanedRows(items, verdicts, judgements, int(thumbnails), max(0, int(removed)))
