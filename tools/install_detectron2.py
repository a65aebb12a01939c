#!/usr/bin/env python3
"""Put Detectron2 into the Python environment that runs this script; `--help` tells the rest."""

from detectron2_installer.command import run_as_script

if __name__ == "__main__":
    run_as_script()
