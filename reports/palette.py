"""Colours, markers and hatches of all figures: Okabe and Ito's colours, and shapes that say the same again."""

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo", "++")
