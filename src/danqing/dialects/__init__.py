"""The wire APIs, one folder each. Siblings never import each other."""
