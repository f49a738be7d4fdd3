"""What memorization is: the hypothesis, its causes, and the table of verdicts."""
