"""Dynamic Low-resolution Distillation for end-to-end text spotting, on Detectron2.

`dld_d2.deployment.TextSpotter` reads photographs, `dld_d2.evaluation.evaluate` scores a spotter.
Importing a part of the package loads what that part needs, and no more: people who only score a
spotter need neither PyTorch nor Detectron2. `dld_d2.config` registers all models and data sets.
"""

__version__ = "0.2.0"
