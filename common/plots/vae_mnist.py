"""The picture of the VAE that no other lesson has; the rest come from the autoencoder's and the GAN's."""

from common.plots.common import picture

import numpy as np
from matplotlib.figure import Figure


@picture
def kl_of_each(path, nats, title):
    """Draw what each number of a code tells of an image: `nats` (latent_dim,), the mean KL divergence."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.bar(np.arange(len(nats)), np.sort(nats)[::-1])
    axes.set(title=title, xlabel="numbers of the code, the most informative first", ylabel="KL divergence in nats")
    axes.set_xticks([])
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)
