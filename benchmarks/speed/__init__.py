"""What a call costs, beside every alternative: ``make bench``."""
