"""Commands of `feltsense` with sub-commands of their own; `worker/cli.py` registers them."""
