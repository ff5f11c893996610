"""Questions about the method; each has one module that is run and writes what it found."""
