"""What the processes of one installation share over Redis, beside events."""
