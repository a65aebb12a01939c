"""Evaluators for Detectron2, each of one thing, and all of them as one."""
