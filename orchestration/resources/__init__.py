"""Dagster resources: the handles that steps get. What does not belong here: anything that is not handed to a
step.
"""
