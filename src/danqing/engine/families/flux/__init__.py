"""FLUX.1: diffusers' `FluxPipeline`, and its relatives for filling and ControlNets."""
