"""Load a saved model, whoever made the file: Keras's safe mode runs no code in it."""

from pathlib import Path

from common import cli

from tensorflow import keras


def load_model(path, what, fits):
    """Return the model in `path`. Raises cli.UserError unless `fits(input_shape, output_shape)`: it is not `what`."""
    if not Path(path).is_file():  # Keras would look for hf:// and the like on the network
        raise cli.UserError(f"{path}: there is no such file; expected {what}, saved as .keras")
    try:
        model = keras.models.load_model(path, compile=False)
        shapes = model.input_shape, model.output_shape
    except Exception as error:  # zipfile, h5py and Keras raise a dozen types for a damaged or foreign file
        raise cli.UserError(f"{path}: no Keras model can be read ({str(error)[:200]})") from None
    if not fits(*shapes):
        raise cli.UserError(f"{path}: not {what}: it turns {shapes[0]} into {shapes[1]}")
    return model
