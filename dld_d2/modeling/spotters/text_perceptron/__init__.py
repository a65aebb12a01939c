"""Text Perceptron: a two-stage spotter that finds words by segmentation."""
