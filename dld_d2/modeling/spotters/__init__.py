"""What can be distilled: the contract, what all spotters share, and a folder for each spotter, with
its model in `spotter.py` and its keys, set by `add_config`, in `config.py`."""
