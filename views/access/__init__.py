"""Who may use a shared server, and under which name."""
