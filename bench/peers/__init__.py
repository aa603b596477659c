"""Small servers of the usual kinds, as benchmarks compare Danqing with. Each keeps what its kind keeps, no more."""
