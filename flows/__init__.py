"""Flows, tasks, wiring from config to objects, and the command line."""
