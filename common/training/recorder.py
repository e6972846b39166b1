"""The callback between a lesson's `fit` and its run: history, checkpoint, Ctrl-C.

A training that was stopped or killed goes on from its last whole epoch, equal to the bit to one that was not. Keras's
own BackupAndRestore leaves out the random state of dropout (keras#19796).
"""

import contextlib
import json
import time

from common import cli
from common.data import files
from common.training import input_pipeline

import numpy as np
from tensorflow import keras


class Recorder(keras.callbacks.Callback):
    """Write history.csv and a checkpoint after every epoch; with --resume, begin where the checkpoint ends."""

    def __init__(self, run):
        super().__init__()
        self.run, self.context = run, contextlib.ExitStack()  # for a `with run.training()` from begin to end

    def on_train_begin(self, logs=None):
        self.rows, self.batches, seconds = [], 0, 0  # a row of history.csv for each whole epoch; batches of this epoch
        self.is_first = self.run.trainings == 0  # of several trainings the first is kept, and resumed
        if self.is_first and self.run.resumes:
            saved = restore(self.run.folder / cli.CHECKPOINT, self.model)
            self.rows, seconds = saved["rows"], saved["seconds"]
            print(f"going on after epoch {len(self.rows)} of {self.params['epochs']}", flush=True)
            self.model._initial_epoch = len(self.rows)  # as Keras's BackupAndRestore does
            (self.run.folder / "history.csv").unlink(missing_ok=True)  # its last epoch may have been cut short
        for row in self.rows:
            self.run.record(**row)
            for name, value in list(row.items())[2:]:  # all but epoch and steps
                self.model.history.history.setdefault(name, []).append(value)
        input_pipeline.first_epoch = len(self.rows)
        self.counts = self.context.enter_context(self.run.training(seconds))

    def on_train_batch_end(self, batch, logs=None):
        self.batches = batch + 1
        self.model.stop_training |= self.run.interrupted

    def on_epoch_end(self, epoch, logs=None):
        values = {name: np.asarray(value).tolist() for name, value in logs.items()}  # a metric may be a vector
        row = {"epoch": epoch + 1, "steps": int(self.model.optimizer.iterations.numpy()), **values}
        self.run.record(**row)
        self.model.stop_training |= self.run.interrupted or self.run.diverged
        if self.batches == self.params["steps"] and not self.run.diverged:  # an epoch that was not cut short
            self.rows.append(row)
            if self.is_first and self.run.resumable:
                seconds = time.perf_counter() - self.run.begun
                save(self.run.folder / cli.CHECKPOINT, self.model, rows=self.rows, seconds=seconds)

    def on_train_end(self, logs=None):
        self.counts |= {"epochs": len(self.rows), "steps": int(self.model.optimizer.iterations.numpy())}
        self.model._initial_epoch, input_pipeline.first_epoch = None, 0
        self.context.close()


def save(path, model, **facts):
    """Write weights, optimizers, random states and `facts` to `path`."""
    arrays = {f"variable_{index}": variable.numpy() for index, variable in enumerate(variables(model))}
    with files.whole(path) as partial:
        np.savez(partial, facts=json.dumps({**facts, "trained_by": trained_by(model)}), **arrays)


def restore(path, model):
    """Put into `model` what `save` wrote, and return the facts. Raises cli.UserError for another model or training."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    with np.load(path) as saved:
        facts = json.loads(str(saved["facts"]))
        arrays = [saved[f"variable_{index}"] for index in range(len(saved.files) - 1)]
    if facts["trained_by"] != trained_by(model):
        raise cli.UserError(f"{cli.relative(path)}: belongs to {facts['trained_by']}; now it is {trained_by(model)}")
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables(model)]:
        raise cli.UserError(f"{cli.relative(path)}: belongs to other layers; was the script edited since?")
    for variable, array in zip(variables(model), arrays, strict=True):
        variable.assign(array)
    return facts


def trained_by(model):
    """Return the names of a model's loss and optimizer, as "categorical_crossentropy and Adam"."""
    loss = getattr(model.loss, "name", getattr(model.loss, "__name__", model.loss or "a loss of its own"))
    return f"{loss} and {type(model.optimizer).__name__}"


def variables(model):
    """Return all that training changes: weights, the states of dropout and augmentation, and optimizers' averages."""
    optimizers = [value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)]
    metrics = {id(variable) for variable in model.metrics_variables}  # they start anew in each epoch
    of_all = [*model.variables, *(variable for optimizer in optimizers for variable in optimizer.variables)]
    return [variable for variable in of_all if id(variable) not in metrics]
