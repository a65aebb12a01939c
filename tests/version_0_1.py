"""States and model files as version 0.1 wrote them, made of today's."""

import re

import torch


def old_state(state):
    """A model's state by the names of 0.1: a spotter's, or a student's with its policy.

    Costs of scales were not in it.
    """
    renamed = {}
    for name, value in state.items():
        if name == "relative_cost":
            continue
        name = re.sub(r"^(spotter\.)?roi_heads\.text_head\.", r"\1recognition.", name)
        renamed[re.sub(r"^spotter\.", "student.", name)] = value
    return renamed


def old_model_file(config, state, relative_cost, **changes):
    """Content of a model file of format version 1.

    Args:
        config: text of the whole configuration in YAML.
        state: of today's model.
        relative_cost: of the scales.
        changes: of the content.
    """
    return {
        "format": "dld_d2 spotter",
        "version": 1,
        "config": config,
        "vocabulary": "".join(map(chr, range(32, 127))),
        "relative_cost": list(relative_cost),
        "made_with": "0.1.0",
        "model": {name: value.contiguous() for name, value in old_state(state).items()},
        **changes,
    }


def same_tensors(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
