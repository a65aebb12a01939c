"""MANGO: the one-stage spotter, which reads a word out of a cell of a grid."""
