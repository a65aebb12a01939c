"""What tools/load_test.py sends."""
