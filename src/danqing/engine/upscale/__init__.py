"""Networks that enlarge finished pictures."""
