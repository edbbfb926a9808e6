"""What `python -m` runs. Each module is also a configuration file: `get_config()`."""
