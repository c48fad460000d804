"""Comparisons with the installed peers: in one process, in turn, ratios of medians."""
