"""Whether a method's learning rate was tuned, and what that took."""

from reports.rows import MethodResult

FIELD = "lr"
"""Config field of a method's learning rate: one number, or the rates that validation data chose from."""


def tuning_text(result: MethodResult) -> str:
    """One sentence on the method's learning rate; empty for a method without one."""
    rate = result.data.planned.config.get(FIELD)
    if isinstance(rate, list | tuple):
        rates = ", ".join(f"{one:g}" for one in rate)
        return f"It is tuned: its learning rate is picked on validation data among {rates}."
    if isinstance(rate, int | float):
        return f"It is untuned: its learning rate of {rate:g} was set by hand, and another may give better connectors."
    return ""
