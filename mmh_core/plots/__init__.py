"""Figures: records in, plotly figures out; no widget, no computation of results."""
