"""The parts of tools/reproduce_table.py."""
