"""Reading photographs without PyTorch and Detectron2, by what `save_onnx` wrote.

>>> from dld_d2.deployment.runtime import OnnxSpotter
>>> spotter = OnnxSpotter("student_onnx")  # doctest: +SKIP
>>> words = spotter("photo.jpg")  # doctest: +SKIP
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"spotter": ["OnnxSpotter"]},
)
