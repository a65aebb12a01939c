"""These tests share `mango_spotter`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
