"""Score models, noise schedules, samplers and training."""
