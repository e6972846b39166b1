"""A closer bound of how probable a VAE finds an image than the ELBO, by which it is trained (Burda et al. 2016).

Run       python benchmarks/importance_weighted.py runs/vae_mnist/1      every tenth test image, 100 codes for each
"""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import vae_mnist  # first: it silences TensorFlow's start-up log
from common import mnist

import numpy as np
import tensorflow as tf
from tensorflow import keras

SAMPLES = 100  # codes per image


def importance_weighted(vae, reconstruction, images):
    """Return a lower bound of log p(x) in nats for each of the images (count, 28, 28, 1), (count,) (Burda et al. 2016).

    log mean p(x | z) p(z) / q(z | x), over codes z that the encoder q proposes: the more, the closer to log p(x).
    `reconstruction(x, probabilities)` returns -log p(x | z), (count,). Of the `vae` it takes binarize, encoder,
    decoder and seed.
    """

    @tf.function
    def bound(batch):
        x = vae.binarize(batch)  # (batch, 28, 28, 1)
        clouds = tf.unstack(vae.encoder(x), axis=1)  # mean and log variance, (batch, 20) each
        x, mean, log_variance = (tf.repeat(array, SAMPLES, axis=0) for array in (x, *clouds))  # batch x 100 each
        noise = keras.random.normal(tf.shape(mean), seed=vae.seed)
        z = mean + tf.exp(log_variance / 2) * noise
        log_ratio = tf.reduce_sum(noise**2 + log_variance - z**2, axis=1) / 2  # log p(z) - log q(z | x)
        log_weights = tf.reshape(log_ratio - reconstruction(x, vae.decoder(z)), (-1, SAMPLES))
        return tf.reduce_logsumexp(log_weights, axis=1) - math.log(SAMPLES)

    return np.concatenate([bound(batch) for batch in np.split(images, range(100, len(images), 100))])


def main():
    run = Path(sys.argv[1])
    networks = (keras.models.load_model(run / f"{name}.keras", compile=False) for name in ("encoder", "decoder"))
    vae = vae_mnist.VAE(*networks)
    vae.compile()
    images = mnist.as_images(mnist.load_mnist("mnist").x_test)[::10]  # (1000, 28, 28, 1)
    test = vae.evaluate(images, batch_size=500, verbose=0, return_dict=True)
    closer = np.mean(importance_weighted(vae, vae_mnist.reconstruction, images))
    print(f"negative ELBO {test['reconstruction'] + test['kl']:.2f} nats, importance-weighted {-closer:.2f}")


if __name__ == "__main__":
    main()
