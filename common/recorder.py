"""The callback between a lesson's `fit` and its run: history, checkpoint, Ctrl-C.

A training that was killed goes on from its last whole epoch, equal to the bit to one that was not. Keras's own
BackupAndRestore leaves out the state of dropout (keras#19796), and a kill while it writes leaves nothing whole.
"""

import contextlib
import json

from common import cli, files, tfdata

import numpy as np
from tensorflow import keras


class Recorder(keras.callbacks.Callback):
    """Write history.csv and the checkpoint an epoch, time `fit`, and end it early after Ctrl-C: the script goes on.

    With --resume, begin where the checkpoint ends, with the history up to there.
    """

    def __init__(self, run):
        super().__init__()
        self.run, self._context = run, contextlib.ExitStack()
        self._batches, self._rows = 0, []  # of the epoch at hand; of history.csv, one for each whole epoch

    def on_train_begin(self, logs=None):
        self._first = "steps" not in self.run.facts  # of several trainings the first is resumed
        saved = self._restore() if self._first and self.run.resumes else {"rows": [], "seconds": 0}
        tfdata.first_epoch = len(saved["rows"])
        self._context.enter_context(self.run.training(seconds=saved["seconds"]))

    def _restore(self):
        saved = restore(self.run.folder / cli.CHECKPOINT, self.model)
        self._rows = saved["rows"]
        self.model._initial_epoch = len(self._rows)  # as Keras's BackupAndRestore does
        print(f"going on after epoch {len(self._rows)} of {self.params['epochs']}", flush=True)
        (self.run.folder / "history.csv").unlink(missing_ok=True)  # a last row may tell of an epoch that was cut short
        for row in self._rows:
            self.run.record(**row)
            for name, value in list(row.items())[2:]:  # all but epoch and steps
                self.model.history.history.setdefault(name, []).append(value)
        return saved

    def on_train_batch_end(self, batch, logs=None):
        self._batches = batch + 1
        self.model.stop_training |= self.run.interrupted

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training |= self.run.interrupted  # while it validated
        row = {"epoch": epoch + 1, "steps": int(self.model.optimizer.iterations.numpy()), **logs}
        self.run.record(**row)
        if self._batches == self.params["steps"]:  # not one that was cut short
            self._rows.append(row)
            if self._first and self.run.resumable:
                with self.run.may_lose(cli.CHECKPOINT):
                    save(self.run.folder / cli.CHECKPOINT, self.model, rows=self._rows, seconds=self.run.seconds())

    def on_train_end(self, logs=None):
        self.run.trained(epochs=len(self._rows), steps=int(self.model.optimizer.iterations.numpy()))
        self.model._initial_epoch, tfdata.first_epoch = None, 0
        self._context.close()


def save(path, model, **facts):
    """Write weights, optimizers, random states and `facts` to `path`."""
    arrays = {f"variable_{index}": variable.numpy() for index, variable in enumerate(variables(model))}
    with files.whole(path) as partial:
        np.savez(partial, facts=json.dumps(facts), **arrays)


def restore(path, model):
    """Put into `model` what `save` wrote, and return the facts.

    Raises cli.UserError where the model is not the one that was saved.
    """
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    with np.load(path) as saved:
        arrays = [saved[f"variable_{index}"] for index in range(len(saved.files) - 1)]
        if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables(model)]:
            raise cli.UserError(f"{cli.relative(path)}: belongs to another model; was the script edited since?")
        for variable, array in zip(variables(model), arrays, strict=True):
            variable.assign(array)
        return json.loads(str(saved["facts"]))


def variables(model):
    """Return all that training changes: weights, the states of dropout and augmentation, and optimizers' averages."""
    optimizers = [value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)]
    metrics = {id(variable) for variable in model.metrics_variables}  # they start anew in each epoch
    of_all = [*model.variables, *(variable for optimizer in optimizers for variable in optimizer.variables)]
    return [variable for variable in of_all if id(variable) not in metrics]
