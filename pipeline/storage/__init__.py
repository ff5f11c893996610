"""Bytes under URLs: a local disk, gs:// and s3:// behind two ways to write."""
