"""The commands of `dreambatch`, one a file: what may be said, and `answer`, which does it.

`answer` returns the exit code, and raises UserError, RunError or OSError for `pipeline.cli` to say.
What a command needs is imported when it answers, so that the command line is there at once.
"""
