"""Measure how good generated images are. For the GANs, the VAEs and the autoencoders."""
