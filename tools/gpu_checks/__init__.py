"""What `tools/gpu_check.py` runs and reports."""
