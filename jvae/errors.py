"""The one exception that the command line turns into one line and exit code 2."""


class UserError(Exception):
    """What is wrong with the user's input, where, and what to do about it, in one line."""
