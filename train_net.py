#!/usr/bin/env python3
"""Train or evaluate a text spotter, or distil one: `dld-d2 train`. `--help` tells the rest."""

import sys

from dld_d2.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
