"""Days of simulated traffic as blocks of a Prometheus, for drawing the dashboards without waiting for a day to pass."""
