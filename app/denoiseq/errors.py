"""The two kinds of error: what a user can cause and mend, and everything else, which is a bug."""


class UserError(ValueError):
    """What the user gave cannot be used: one sentence that says what, where, and what to do."""
