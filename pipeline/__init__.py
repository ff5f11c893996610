"""The factory: manifest in, dataset of 3D assets out; Ray, storage, retries and metrics."""
