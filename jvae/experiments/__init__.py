"""Entry points for `python -m`. Each module is also a configuration file: `get_config()`."""
