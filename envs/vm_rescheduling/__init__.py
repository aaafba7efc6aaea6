"""VM rescheduling: which few VMs should move, and where to, so that large VMs fit again."""
