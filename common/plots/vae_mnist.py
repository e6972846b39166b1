"""The pictures of the VAEs."""

from common.plots.autoencoder_mnist import reconstructions
from common.plots.base import picture
from common.plots.gan_mnist import as_pixels, grid

import numpy as np
from scipy import stats


def pictures(folder, decoder, title, images, painted, nats):
    """Draw reconstructions.png, samples.png and kl.png into `folder`, and plane.png where a code is two numbers.

    `images` is {name: (count, 28, 28, 1) in [0, 1]}, `painted` images from noise, `nats` is as in kl_of_each.
    """
    reconstructions(folder / "reconstructions.png", images, title)
    grid(folder / "samples.png", as_pixels(2 * painted[:64] - 1), title)
    kl_of_each(folder / "kl.png", nats, title)
    if len(nats) == 2:
        places = stats.norm.ppf((np.arange(20) + 0.5) / 20)  # equally probable values of a number of a code, (20,)
        codes = np.stack(np.meshgrid(places, -places), axis=-1).reshape(-1, 2)  # (400, 2)
        plane = decoder.predict(codes, batch_size=500, verbose=0)  # (400, 28, 28, 1)
        grid(folder / "plane.png", as_pixels(2 * plane - 1), title, columns=20)


@picture(8, 4)
def kl_of_each(figure, nats, title):
    """Draw what each number of a code tells of an image: `nats` (latent_dim,), the mean KL divergence."""
    axes = figure.subplots()
    axes.bar(np.arange(len(nats)), np.sort(nats)[::-1])
    axes.set(title=title, xlabel="numbers of the code, the most informative first", ylabel="KL divergence in nats")
    axes.set_xticks([])
    axes.grid(axis="y")
