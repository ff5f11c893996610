"""The embedded world: coloured objects made of primitive solids, their pictures and their teacher.

Importing this package loads no torch; `grammar` stays torch-free as well.
"""
