"""Puts Detectron2 into a Python environment, without a compiler and without Git.

Standard library only, because this runs before anything is installed; `command` is the entry.
"""
