"""Texts that others wrote, of a length that a record and a screen can hold."""

ERROR_CHARS = 1_000
"""Characters of an error's line, or of a warning, that are kept."""

TRACE_CHARS = 20_000
"""Characters of a traceback that are kept."""

SHORT_OF_MEMORY = ("OutOfMemoryError", "DefaultCPUAllocator", "not enough memory", "Cannot allocate memory")
"""What the errors of torch and of the operating system say where memory is short."""


def cut(text: str, most: int) -> str:
    """The text; of a longer one two thirds from its head and one from its tail, and how much is left out."""
    if len(text) <= most:
        return text
    mark = f" ... ({len(text) - most:,} characters left out) ... "
    tail = (most - len(mark)) // 3
    return text[: most - len(mark) - tail] + mark + text[-tail:]


def one_line(text: str) -> str:
    """The text on one line of at most ``ERROR_CHARS`` characters."""
    return cut(" ".join(text.split()), ERROR_CHARS)


def told(error: BaseException) -> str:
    """What a method raised, on one line: want of memory and an attempt to end the process are named as such."""
    try:
        text = next((line for line in str(error).splitlines() if line.strip()), "").strip()
    except Exception:
        text = "(its text cannot be read)"
    said = f"{type(error).__name__}: {text}".removesuffix(": ")
    if not isinstance(error, Exception):
        return one_line(f"the method raised {said}, which ends processes")
    if isinstance(error, MemoryError) or any(sign in said for sign in SHORT_OF_MEMORY):
        return one_line(f"out of memory: {said}")
    return one_line(said)
