"""Reading photographs without PyTorch and Detectron2: by what `save_onnx` wrote, or by any engine
with a selector that `dld-d2 select` trained for it.

>>> from dld_d2.deployment.runtime import OnnxSpotter
>>> spotter = OnnxSpotter("student_onnx")  # doctest: +SKIP
>>> words = spotter("photo.jpg")  # doctest: +SKIP
>>> from dld_d2.deployment.runtime import Dynamic, rapidocr
>>> words = Dynamic(rapidocr(), "selector.onnx")("photo.jpg")  # doctest: +SKIP
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "dynamic": ["Dynamic"],
        "focus": ["Focus"],
        "focused": ["Focused"],
        "engines": ["Sides", "rapidocr", "tesseract"],
        "scale_selector": ["ScaleSelector"],
        "spotter": ["OnnxSpotter"],
    },
)
