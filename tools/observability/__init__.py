"""Recording rules, alerts and dashboards, as code: `python -m tools.observability` writes them into k8s/components."""
