"""Training, evaluation and everything around them: configuration, checkpoints, processes."""
