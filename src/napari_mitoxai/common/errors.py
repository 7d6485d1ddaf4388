"""The one error a user is meant to read."""


class MitoxaiError(Exception):
    """A problem that a user can solve.

    Its text is one sentence that names the thing, the reason and the way out. The command line prints it and exits
    with 2, the window shows it as a notification; neither shows a traceback.
    """
