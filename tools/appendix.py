#!/usr/bin/env python3
"""The appendix of the DLD paper from your models and data; `--help` tells the rest."""

import sys

from appendix_page.command import main

if __name__ == "__main__":
    sys.exit(main())
