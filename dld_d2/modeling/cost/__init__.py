"""Counting what a model costs."""
