"""A resolution selector for an engine that is not ours: collecting, training, comparing."""
