"""The review page in pieces: queue, one item, table, scan, agreement, export."""
