"""HTTP: the app factory, listeners, what every exchange gets, and the contract a dialect fulfils. Knows no dialect."""
