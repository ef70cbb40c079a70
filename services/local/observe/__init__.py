"""`promptmesh up --observe`: a Prometheus of one machine, and a page with the charts that matter most."""
