"""The API of the studio page: every mode, batches to look for, jobs as they go on, the machine. Danqing's own."""
