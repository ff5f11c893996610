"""Speeds, each behind a gate of correctness: `python -m engine.bench OP --out DIR`.

ops.py      which ops there are; one line each
<op>.py     its gate and its cases
gate.py     how far from a reference is too far
timing.py   medians of CUDA events, and the copy rate to hold bytes against
step.py     whole steps of a gang; shapes.py has the models, subjects.py what they are asked,
            step_gate.py their gate, activity.py launches and waits, flops.py a U-Net's arithmetic
assets.py   whole assets an hour: line.py is a gang with exports beside it, maker.py runs one,
            devices.py several, extrapolation.py reckons for models that make nothing here
refills.py  whether memory grows as scenes come and go
picture.py  the parts of a step, drawn
rows.py     what is kept of a measurement, and under which key
"""
