"""The tests in the folders below share `tiny_spotter`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
