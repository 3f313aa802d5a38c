"""Decisions: values in, values out; no clock, random, await, log or file."""
