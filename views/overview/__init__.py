"""The first page in pieces: doors to the tasks, the guided tour, what went on last."""
