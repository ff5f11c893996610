"""What ends a command in one line: a mistake that only the user can mend, a run that may go on."""


class UserError(ValueError):
    """A wrong argument, manifest or place. The command line prints it and leaves with code 2."""


class InvalidStore(UserError):
    """The output is not a dataset, or not one that this command can use."""


class RunError(Exception):
    """A run that cannot go on, though the user did nothing wrong: exit code 1, safe to repeat."""
