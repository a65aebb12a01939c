"""What `tools/benchmark.py` measures: one module per question, and what they share."""
