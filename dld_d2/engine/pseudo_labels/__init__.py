"""Annotations for photographs that have none: what a teacher reads in them, and is sure of."""
