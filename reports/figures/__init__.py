"""The figures, one function each: data frames in, ``Axes`` out. ``import reports`` names them all."""
