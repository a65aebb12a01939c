#!/usr/bin/env python3
"""Read the words in photographs: `dld-d2 read`. `--help` tells the rest."""

import sys

from dld_d2.commands.read import main

if __name__ == "__main__":
    sys.exit(main())
