"""What is measured by a procedure of its own. Each experiment takes a `Bench` and returns a `Result`."""

EXPERIMENTS = []
