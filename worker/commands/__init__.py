"""Commands of `feltsense`, each in a file of its own; `worker/cli.py` registers them."""
