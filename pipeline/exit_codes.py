"""What the process says by its end; schedulers and scripts rely on it, so it does not change.

Any other code, such as 128 + the number of a signal, means that the same command may be run again.
"""

COMPLETE = 0
FAILURE = 1
"""Something broke that the same command may outlive."""
USER = 2
"""A mistake that only the user can mend; nothing was written."""
QUARANTINE = 3
"""Complete, but some prompts were given up, or some assets could not be exported."""
INTERRUPTED = 130
