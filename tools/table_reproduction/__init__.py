"""What tools/reproduce_table.py trains, evaluates, compares and shows."""
