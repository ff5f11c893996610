"""The science of dreambatch: one GPU, arrays in, arrays out.

Importing this package is free; torch is loaded by the modules that compute with it.
"""
