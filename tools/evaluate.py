#!/usr/bin/env python3
"""Score a text spotter by the ICDAR protocols; `--help` lists the options."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without installation

from dld_d2.evaluation.cli import main

if __name__ == "__main__":
    sys.exit(main())
