"""The page's figures as inline SVG: they follow the page's colours, say their values on hover, and lead to a pair."""
