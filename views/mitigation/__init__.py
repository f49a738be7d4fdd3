"""The mitigation page: form, live job, pairs, table, frontier, grid, tokens, side effects."""
