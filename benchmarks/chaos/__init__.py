"""Does an accepted event survive everything? Faults drawn by seed, struck at real processes, and accounts by
plain SQL."""
