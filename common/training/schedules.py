"""The learning rate of a training that knows its number of steps (Smith and Topin 2017; Loshchilov and Hutter 2017)."""

from tensorflow.keras.optimizers.schedules import CosineDecay


def one_cycle(peak, steps, warmup, start=0.0):
    """Return a schedule: a line from `start` to `peak` in a fraction `warmup` of `steps`, then half a cosine to 0."""
    return CosineDecay(start, (1 - warmup) * steps, warmup_target=peak, warmup_steps=warmup * steps)
