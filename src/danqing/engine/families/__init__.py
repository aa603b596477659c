"""The code that runs each kind of model, one folder a family."""
