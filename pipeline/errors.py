"""Mistakes that only the user can mend: one line each, saying what, and how to mend it."""


class UserError(ValueError):
    """A wrong argument, manifest or place. The command line prints it and leaves with code 2."""


class InvalidStore(UserError):
    """The output is not a dataset, or not one that this command can use."""
