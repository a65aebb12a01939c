"""Dynamic Low-resolution Distillation for end-to-end text spotting, on Detectron2.

Importing the package alone stays cheap: `dld_d2.evaluation` is used by people who have neither
PyTorch nor Detectron2. `import dld_d2.modeling` registers the models, `import dld_d2.data` the
data sets.
"""

__version__ = "0.1.0"
