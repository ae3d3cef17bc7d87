"""The ladder of the paper, its controls, what goes beyond it, and the sweeps: trained, scored and summed up.

`rungs` says what a rung changes, `cells` trains and scores one rung on one fold and seed, `summary` gives means with
intervals, the table and the charts.
"""
