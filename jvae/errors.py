"""The one exception that the command line turns into one line and exit code 2."""


class UserError(Exception):
    """One line for the user: what is wrong with the input, where, and what to do about it."""
