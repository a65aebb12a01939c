"""These tests share `tiny_spotter` with those of modeling."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "modeling"))
