"""The gradient-descent loop that methods share: one recipe, counted, scored and recorded the same way."""
