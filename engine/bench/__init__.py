"""Speeds, each behind a gate of correctness: `python -m engine.bench OP --out DIR`.

ops.py      which ops there are; one line each
<op>.py     its gate and its cases
gate.py     how far from a reference is too far
timing.py   medians of CUDA events, and the copy rate to hold bytes against
step.py     whole steps of a gang; shapes.py has the models, subjects.py what they are asked
refills.py  whether memory grows as scenes come and go
rows.py     what is kept of a measurement, and under which key
"""
