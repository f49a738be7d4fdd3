"""The mitigation page in pieces: form, live job, pairs, table, frontier, grid, words, normal."""
