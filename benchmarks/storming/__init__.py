"""The parts of ``make storm``: a server in memory, clients of the real library, scenarios, figures and a plot."""
