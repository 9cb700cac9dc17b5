"""What correctable memory errors foretell: predictors, each one file, chosen by the policy (`prediction.model`).

Pure and exact like all of `processors`: histories are built from counter increments in node time, and judged on the
grid of the stream clock, so that no cut of the input shows in a forecast.
"""
