"""The appendix of the DLD paper from models and data of one's own: `tools/appendix.py`."""
