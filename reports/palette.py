"""Colours, markers and hatches of all figures: Okabe and Ito's colours, and shapes that say the same again.

On white paper the light ones are darkened until they stand out (a contrast of three or more, as WCAG 2.2 asks of
graphics); on dark paper they are as published, and the dark ones lighter.
"""

OKABE_ITO = ("#0072B2", "#B77E00", "#008A64", "#B85C91", "#3A8FC4", "#D55E00", "#857D00", "#767676", "#000000")
ON_DARK = ("#56A5E0", "#E69F00", "#21B98D", "#DD8FBD", "#8CCBF2", "#F58138", "#F0E442", "#A5A5A5", "#F2F2F2")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo", "++")
