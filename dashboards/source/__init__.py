"""Makes the dashboards and the alert rules from docs/families.json."""
