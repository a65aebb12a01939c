"""Which keys of a configuration some code reads."""

from contextlib import contextmanager

from yacs.config import CfgNode

_PATH = "_path_in_recorded_configuration"


@contextmanager
def recorded_keys(cfg):
    """Within it the full names of all keys of `cfg` that are read, from it or a copy of it, are
    collected in the set that it gives."""
    keys = set()
    original = CfgNode.__getitem__

    def read(node, name):
        value = original(node, name)
        path = node.__dict__.get(_PATH)
        if path is None:
            return value
        if isinstance(value, CfgNode):
            value.__dict__[_PATH] = f"{path}{name}."
        else:
            keys.add(f"{path}{name}")
        return value

    cfg.__dict__[_PATH] = ""
    CfgNode.__getitem__ = read
    try:
        yield keys
    finally:
        del CfgNode.__getitem__, cfg.__dict__[_PATH]
