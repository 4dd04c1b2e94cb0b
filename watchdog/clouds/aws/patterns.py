"""Wildcard patterns as AWS writes them, matched without a pattern being able to make us slow."""


def glob(pattern: str, value: str) -> bool:
    """Match `*` and `?` without backtracking over more than one star: the pattern is an outsider's."""
    at = here = 0
    star: int | None = None
    retry = 0
    while here < len(value):
        if at < len(pattern) and pattern[at] == "*":
            star, retry = at, here
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", value[here]):
            at += 1
            here += 1
        elif star is not None:
            retry += 1
            at, here = star + 1, retry
        else:
            return False
    return not pattern[at:].strip("*")
