"""Reading photographs for others, over HTTP.

`app` answers requests, with readers of `pool`; `images` decodes what strangers send, `limits` says
how much of it is taken, and `metrics` counts. `dld-d2 serve` runs it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"app": ["create_app"], "limits": ["Limits"]},
)
