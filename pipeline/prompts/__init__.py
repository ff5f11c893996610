"""Prompt tables read and checked, and tables of rows that a million prompts fit in."""
