"""What `tools/benchmark.py` measures, and what all tools that measure share.

`models` is behind its commands for models, `evaluation` and `index` are commands of their own.
`timing`, `processes`, `machine` and `turns` serve other tools, too.
"""
