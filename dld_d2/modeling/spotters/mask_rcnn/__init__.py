"""Mask R-CNN with a text head: the paper's two-stage spotter."""
