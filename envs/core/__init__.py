"""What every family shares: simulator protocol, scenarios, workloads, faces, records."""
