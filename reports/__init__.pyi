from reports.figures.costs import costs as costs
from reports.figures.curves import curves as curves
from reports.figures.heatmap import heatmap as heatmap
from reports.figures.ranks import ranks as ranks
from reports.figures.scaling import scaling as scaling
from reports.figures.worth import connectors as connectors
from reports.figures.worth import frontier as frontier

__all__ = ["connectors", "costs", "curves", "frontier", "heatmap", "ranks", "scaling"]
