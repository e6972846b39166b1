"""Read a saved model back, from a file that anybody may have made: it runs no code, and fits into memory."""

import json
import math
import os
import zipfile

from common import cli

from keras.src.backend.common import global_state
from tensorflow import keras

LARGEST = 2**20  # outputs of a layer for one image: 2 GB for a batch of 500
CONFIG_BYTES = 10**7  # of the description of a model's layers


def load_model(path, what, fits):
    """Return the Keras model in the file `path`; `fits(input_shape, output_shape)` tells whether it is `what`.

    Raises cli.UserError where there is none, or another one.
    """
    if os.path.isdir(path):
        raise cli.UserError(f"{path}: a folder; name a file in it, such as model.keras")
    if not os.path.isfile(path):  # Keras would look for hf://, gs:// and the like on the network, and wait for a pipe
        raise cli.UserError(f"{path or repr('')}: there is no such file; expected {what}, saved as .keras")
    try:
        _check_size(path)
        model = keras.models.load_model(path, compile=False)
        shapes = model.input_shape, model.output_shape
    except Exception as error:  # zipfile, h5py and Keras raise a dozen types for a damaged or foreign file
        reason = " ".join(str(error).split()).split(". ")[0][:200] or type(error).__name__
        raise cli.UserError(f"{path}: no Keras model can be read ({reason})") from None
    if not fits(*shapes):
        raise cli.UserError(f"{path}: not {what}: it turns {shapes[0]} into {shapes[1]}")
    return model


def _check_size(path):
    """Lay out the model's layers without their weights. Raises ValueError where it would not fit into memory."""
    if not zipfile.is_zipfile(path):
        raise ValueError("damaged, or no .keras file: model.save(\"model.keras\") writes one")
    with zipfile.ZipFile(path) as file:
        sizes = {entry.filename: entry.file_size for entry in file.infolist()}
        if not {"config.json", "model.weights.h5"} <= {*sizes}:
            raise ValueError("no .keras file")
        if sizes["config.json"] > CONFIG_BYTES:
            raise ValueError("the description of its layers is too long")
        layers = json.loads(file.read("config.json"), object_pairs_hook=_without_optimizer)
    before = global_state.get_global_attribute("uninitialized_variables")
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.models.model_from_json(json.dumps(layers))
    finally:
        global_state.set_global_attribute("uninitialized_variables", before)  # they never get a value
    if 2 * model.count_params() > sizes["model.weights.h5"]:  # bytes: a weight has 2 at least
        raise ValueError(f"its layers want {model.count_params():,} weights, and it holds fewer")
    for layer in model._flatten_layers(include_self=False):
        outputs = keras.tree.flatten(layer.output) if layer._inbound_nodes else []  # a cell of an RNN has none
        if any(math.prod(size or 1 for size in output.shape) > LARGEST for output in outputs):
            raise ValueError(f"the layer {layer.name} is too large")


def _without_optimizer(pairs):
    return {name: value for name, value in pairs if name != "compile_config"}
