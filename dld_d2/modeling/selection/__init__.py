"""Choosing the scale at which an image is read."""
