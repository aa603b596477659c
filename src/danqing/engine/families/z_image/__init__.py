"""Z-Image: diffusers' `ZImagePipeline`."""
