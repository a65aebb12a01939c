"""One reader per annotation format, in a module of the format's name.

`FORMATS` knows them all and imports each when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"registry": ["FORMATS", "check_options", "get_reader", "read_records"]},
)
