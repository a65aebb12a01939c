"""Using a trained model.

>>> from dld_d2.deployment import TextSpotter
>>> spotter = TextSpotter.pretrained()  # doctest: +SKIP
>>> words = spotter("photo.jpg")  # doctest: +SKIP
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "predictor": ["TextSpotter"],
        "result": ["SpottingResult"],
    },
)
