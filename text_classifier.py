"""A recurrent network reads a sentence word by word and tells which of two classes it belongs to: for or against.

Idea      To this network a word is a row of a matrix, its vector. Words with similar neighbours get similar vectors,
          and to learn that takes text, but no labels. So what one labelled word teaches also holds for words like it.
Model     Embedding of 9,680 rows of 100 numbers with a mask, LSTM 64, Dropout 0.5, Dense 1 sigmoid; 1,010,305
          parameters, of which --vectors frozen trains the last 42,305 only.
Run       python text_classifier.py
Expect    Test accuracy 77.1 % +- 2.1 (seeds 0 to 2) after 10 s of training on 2 cores of an Intel Xeon.
Baseline  About 50 %: always answer the more frequent label. The bag of words, logistic regression on which words occur
          in whatever order, has 77.8 % of the same test sentences. It is a tie: see benchmarks/results.md.
Try next  --labels 500 --vectors frozen    With few labels, who wins: the network or the bag? And with --vectors random?
          x_train, x_test shuffled    Each sentence with its words in a random order: how much does the network lose?
          --cell gru    Three quarters of the LSTM's weights: does it read worse?
Source    Document 000: my_rnn, my_lstm and my_gru, with frozen vectors. Sizes, dropout and learning rate are ours.
"""

import json
import math

from common import cli, device, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.plots.classifier import learning_curves
from common.plots.model_diagram import model_diagram
from common.plots.text_classifier import readings
from common.text import dataset, word_vectors
from common.training.schedules import one_cycle

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 3  # passes over the labelled sentences
LEAST_STEPS = 150  # weight updates: with few sentences more epochs, unless --epochs is given
BATCH_SIZE = 64  # sentences per weight update
LEARNING_RATE = 2e-3  # Adam's, at its highest
WORDS = 10_000  # the vocabulary at most; a word that is seen once teaches nothing
DIMENSION = 100  # numbers of a word's vector
SCALE = 3.0  # length of a word's vector
LONGEST = 200  # words of a sentence that are read at most
UNITS = 64  # size of the state
DROPOUT = 0.5  # fraction of the state's numbers dropped before the answer
SHOWN = 3  # sentences in each column of readings.png

# One step of each cell is in rnn_cells.py. A row of padding has a mask: the state stays as it is.
CELLS = {"simple_rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


def build_model(cell="lstm", matrix=None, trainable=True, length=50):
    """Return the network: words (batch, 50) as rows of `matrix` to the probability of class 1, (batch, 1).

    Document 000 keeps it frozen: trainable=False.
    """
    matrix = np.zeros((WORDS, DIMENSION)) if matrix is None else matrix
    return keras.Sequential([
        keras.Input((length,), dtype="int32"),
        layers.Embedding(
            *matrix.shape, weights=[matrix], trainable=trainable, mask_zero=True),  # (50, 100)  1,000,000 = 10000 x 100
        CELLS[cell](UNITS),  # (64,)  42,240 = 4 x 64 x (100 + 64 + 1)
        layers.Dropout(DROPOUT),  # (64,)
        layers.Dense(1, activation="sigmoid"),  # (1,)  65 = 64 + 1
    ])


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    strategy = device.strategy(args, single="few sentences are soon read")
    keras.utils.set_random_seed(args.seed)

    # 1. Data: of the training sentences only the first --labels have a label, but all of them have words.
    data = dataset.load(args.data, args.seed)
    train = [word_vectors.split(sentence) for sentence in data.train]
    test = [word_vectors.split(sentence) for sentence in data.test]
    labelled, y_train = train[: args.labels], data.y_train[: args.labels]
    if len({*y_train}) < 2:
        raise cli.UserError(f"--labels {len(labelled)}: those sentences all have the same label; take more")
    rows = word_vectors.vocabulary(train, WORDS)  # {word: row of the matrix}
    length = int(min(LONGEST, np.percentile([len(sentence) for sentence in train], 99)))
    x_train = word_vectors.encode(labelled, rows, length)  # (9596, 50)
    x_test = word_vectors.encode(test, rows, length)  # (1066, 50)
    if args.vectors == "random":
        vectors = word_vectors.random(rows, DIMENSION, args.seed)  # (9680, 100)
    else:
        vectors = word_vectors.learn(train + dataset.unlabelled(data), rows, DIMENSION, args.seed)  # (9680, 100)
    steps_per_epoch = math.ceil(len(x_train) / args.batch_size)
    if args.epochs is None:
        args.epochs = max(EPOCHS, math.ceil(LEAST_STEPS / steps_per_epoch))

    # 2. Model
    run = runs.Run(__file__, args, strategy, data)  # makes the run's folder, prints the first line
    print(f"{np.count_nonzero(vectors[word_vectors.FIRST :].any(axis=1)):,} of the {len(rows):,} words have a vector")
    with strategy.scope():
        model = build_model(args.cell, SCALE * vectors, args.vectors in ("trained", "random"), length)
        rate = one_cycle(LEARNING_RATE, args.epochs * steps_per_epoch, warmup=0.1)
        model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.Adam(rate), metrics=["accuracy"])
    model.summary()
    model_diagram(run.folder / "model.png", model)

    # 3. Train. Ctrl-C stops it early; the script goes on with what was learned.
    history = model.fit(
        x_train,
        y_train[:, None],
        epochs=args.epochs,
        batch_size=args.batch_size,
        verbose=run.verbose,
        callbacks=run.callbacks,  # history.csv, Ctrl-C
    ).history
    run.write("model.keras", model.save)  # written completely or not at all
    known = json.dumps({"dataset": data.name, "classes": data.classes, "words": list(rows)})
    run.write("vocabulary.json", lambda path: path.write_text(known, encoding="utf-8"))  # for ask_text.py

    # 4. Evaluate, beside what needs no network
    scores = model.evaluate(x_test, data.y_test[:, None], batch_size=1000, verbose=0, return_dict=True)
    answers = model.predict(x_test, batch_size=1000, verbose=0)[:, 0]  # (1066,)
    bag_answers, informative = bag_of_words(labelled, y_train, test)  # (1066,), four words
    bag_accuracy = float(np.mean(bag_answers == data.y_test))
    baseline = float(np.mean(data.y_test == np.bincount(y_train).argmax()))

    # 5. Show
    print("\nThe bag's most informative words, their nearest neighbours before the training and after it:")
    trained = model.layers[0].get_weights()[0]  # (9680, 100)
    for word in informative:
        if word in rows:
            before, after = (word_vectors.neighbours(word, rows, matrix, 5) for matrix in (vectors, trained))
            print(f"  {word:>12}   {', '.join(before):45} {', '.join(after)}")
    title = f"{data.name}, {args.cell}, {args.vectors}; {runs.headline(scores)}"
    learning_curves(run.folder / "learning_curves.png", history, scores, title)
    readings(run.folder / "readings.png", chosen_sentences(model, data, test, answers, rows), data.classes, title)
    return run.finish(runs.headline(scores), f"bag of words {bag_accuracy:.1%} | baseline {baseline:.1%}", model,
                      test=scores, bag_of_words_accuracy=bag_accuracy, baseline=baseline, vocabulary=len(rows))


def bag_of_words(sentences, labels, test):
    """Return the classes, (count,), by which words a sentence has, and the four most informative words."""
    counts = TfidfVectorizer(analyzer=lambda sentence: sentence, sublinear_tf=True)  # the sentences are split already
    bag = LogisticRegression(C=3.0).fit(counts.fit_transform(sentences), labels)
    words = counts.get_feature_names_out()[np.argsort(bag.coef_[0])]  # from the strongest for class 0 to that for 1
    return bag.predict(counts.transform(test)), [words[0], words[1], words[-1], words[-2]]


def read_along(model, sentences, rows):
    """Return for each sentence of n words the probability of class 1 before its first word and after each, (n + 1,)."""
    length = model.input_shape[1]
    codes = word_vectors.encode(sentences, rows, length)  # (count, 50)
    beginnings = codes[:, None] * np.tri(length + 1, length, -1, dtype=int)  # (count, 51, 50): the first 0, 1, ... 50
    answers = model.predict(beginnings.reshape(-1, length), batch_size=1000, verbose=0).reshape(len(codes), -1)
    return [answer[: 1 + np.count_nonzero(code)] for answer, code in zip(answers, codes, strict=True)]


def chosen_sentences(model, data, test, answers, rows):
    """Return what readings.png shows: right answers that one word moved most, and the most confident mistakes."""
    wrong = np.flatnonzero((answers > 0.5) != data.y_test)
    mistakes = wrong[np.argsort(-np.abs(answers[wrong] - 0.5), kind="stable")][:SHOWN]
    right = np.setdiff1d(np.arange(len(test)), wrong)[:100]
    chosen = [*mistakes, *right]
    steps = dict(zip(chosen, read_along(model, [test[index] for index in chosen], rows), strict=True))
    largest_step = [np.abs(np.diff(steps[index])).max(initial=0) for index in right]
    moved = right[np.argsort(-np.array(largest_step), kind="stable")][:SHOWN]
    print("The most confident mistakes:")
    for index in mistakes:
        answer = int(answers[index] > 0.5)
        confidence = max(answers[index], 1 - answers[index])
        print(f"  labelled {data.classes[data.y_test[index]]}, read as {data.classes[answer]} ({confidence:.1%}): "
              f"{data.test[index]}")
    columns = []
    for heading, column in (("moved most by one word", moved), ("most confident mistakes", mistakes)):
        columns.append([(f"{heading}; label: {data.classes[data.y_test[index]]}", test[index], steps[index])
                        for index in column])
    return columns


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE, images=False)
    parser.add_argument("--data", type=cli.path, metavar="PATH",
                        help="a .csv or .tsv file with label and text, a folder with the film reviews, or the word "
                             "docstrings (the stand-in) or reviews (no stand-in); default: found or downloaded")
    parser.add_argument("--cell", choices=CELLS, default="lstm", metavar="NAME",
                        help=f"what a time step does: {', '.join(CELLS)} (default %(default)s)")
    parser.add_argument("--vectors", choices=("frozen", "trained", "random"), default="trained", metavar="KIND",
                        help="frozen: learned from text without labels, as they are; trained: the same, fine-tuned "
                             "(default); random, and trained")
    parser.add_argument("--labels", type=cli.number(int, at_least=2), metavar="N",
                        help="only the first N training sentences have a label (default all)")
    return parser.parse_args(argv, own=lambda args: {"epochs": None})  # main chooses: few sentences need more


if __name__ == "__main__":
    cli.launch(main)
