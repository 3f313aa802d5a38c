"""What each function of the core costs, and how often a call pays for it."""
