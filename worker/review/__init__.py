"""Where people read what the risk queue holds: accounts, agreement, and the local web page."""
