"""Every statistic that a table, a chart or a sentence states."""
