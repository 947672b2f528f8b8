"""Commands of `feltsense`, one a file."""
