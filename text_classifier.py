"""A recurrent network reads a sentence word by word and tells which of two classes it belongs to: for or against.

Idea      To this network a word is a row of a matrix, its vector. Words with similar neighbours get similar vectors,
          and to learn that takes text, but no labels. So what one labelled word teaches also holds for words like it.
Model     Embedding of 9,680 rows of 100 numbers with a mask, LSTM 64, Dense 1 sigmoid; 1,010,305 parameters, of which
          document 000 trains the last 42,305 only: --vectors frozen.
Run       python text_classifier.py
          python text_classifier.py --ask "not a good film , but a great one"
Expect    Test accuracy, seeds 0, 1, 2: LSTM 76.9, 75.1, 79.3 %, GRU 77.0, 76.6, 79.7 %, after 10 s of training
          (LSTM; the whole run takes 26) on 2 cores of an Intel Xeon, TensorFlow 2.21.0, Keras 3.15.1.
Baseline  About 50 %: always answer the more frequent label. The bag of words, logistic regression on which words occur
          in whatever order: 77.7, 76.6, 79.2 % of the same test sentences. It is a tie: see benchmarks/results.md.
Try next  --labels 500 --vectors frozen    With few labels, who wins: the network or the bag? And with --vectors random?
          x_train, x_test shuffled    Each sentence with its words in a random order: how much does the network lose?
          --ask "good" and --ask "not good"    Which words flip the answer? See readings.png.
Source    Atienza's "Advanced Deep Learning with Keras" (document 000): my_rnn, my_lstm and my_gru.
"""

import json
import math

from common import cli, device, results, runs, saved, script, text, words  # first: device starts TensorFlow quietly
from common.plots.common import learning_curves
from common.plots.diagram import diagram
from common.plots.text_classifier import readings

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from tensorflow import keras
from tensorflow.keras import layers

SCRIPT = "text_classifier"
SHOWN = 3  # sentences in each column of readings.png
EPOCHS, LEAST_STEPS = 3, 150  # passes over the labelled sentences; over few more, up to so many weight updates
BATCH_SIZE = 64  # sentences per weight update
LEARNING_RATE = 2e-3  # Adam's, at its highest
WORDS = 10_000  # the vocabulary at most; a word that is seen once teaches nothing
DIMENSION = 100  # numbers of a word's vector
SCALE = 3.0  # length of a word's vector
LONGEST = 200  # words of a sentence that are read at most
UNITS = 64  # size of the state
DROPOUT = 0.5  # fraction of the state's numbers dropped before the answer

# One step of each cell is in rnn_mnist.py. A row of padding has a mask: the state stays as it is.
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
    ])  # fmt: skip


def read_along(model, sentences, rows):
    """Return for each sentence of n words the probability of class 1 before its first word and after each, (n + 1,)."""
    length = model.input_shape[1]
    codes = words.encode(sentences, rows, length)  # (count, 50)
    beginnings = codes[:, None] * np.tri(length + 1, length, -1, dtype=int)  # (count, 51, 50): the first 0, 1, ... 50
    answers = model.predict(beginnings.reshape(-1, length), batch_size=1000, verbose=0).reshape(len(codes), -1)
    return [answer[: 1 + np.count_nonzero(code)] for answer, code in zip(answers, codes, strict=True)]


def main(argv=None):
    """Train, evaluate and show; return the content of result.json, with the run's folder."""
    args = parse(argv)
    if args.ask is not None:
        return ask(args.ask)
    strategy = device.strategy(args, single="few sentences are soon read")
    keras.utils.set_random_seed(args.seed)

    # 1. Data: of the training sentences only the first --labels have a label, but all of them have words.
    data = text.load(args.data, args.seed)
    train, test = ([words.split(sentence) for sentence in part] for part in (data.train, data.test))
    labelled, y_train = train[: args.labels], data.y_train[: args.labels]
    if len({*y_train}) < 2:
        raise cli.UserError(f"--labels {len(labelled)}: those sentences all have the same label; take more")
    if args.epochs == EPOCHS:
        args.epochs = max(EPOCHS, math.ceil(LEAST_STEPS / math.ceil(len(labelled) / args.batch_size)))
    rows = words.vocabulary(train, WORDS)  # {word: row of the matrix}
    length = int(min(LONGEST, np.percentile([len(sentence) for sentence in train], 99)))
    x_train, x_test = words.encode(labelled, rows, length), words.encode(test, rows, length)  # (9596, 50), (1066, 50)
    if args.vectors == "random":
        vectors = words.random(rows, DIMENSION, args.seed)
    elif args.vectors in ("frozen", "trained"):
        vectors = words.learn(train + text.unlabelled(data), rows, DIMENSION, args.seed)
    else:
        vectors = words.read(args.vectors, rows)

    # 2. Model
    run = runs.Run(SCRIPT, args, strategy, data)
    print(f"{np.count_nonzero(vectors.any(axis=1)[words.FIRST :]):,} of the {len(rows):,} words have a vector")
    with strategy.scope():
        model = build_model(args.cell, SCALE * vectors, args.vectors in ("trained", "random"), length)
        steps = args.epochs * math.ceil(len(x_train) / args.batch_size)
        rate = keras.optimizers.schedules.CosineDecay(  # climbs to its peak, then falls to zero
            0.0, 0.9 * steps, warmup_target=LEARNING_RATE, warmup_steps=0.1 * steps)  # fmt: skip
        model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.Adam(rate), metrics=["accuracy"])
    model.summary()
    diagram(run.folder / "model.png", model)

    # 3. Train. Ctrl-C stops it early; the script goes on with what was learned.
    history = model.fit(
        x_train,
        y_train[:, None],
        epochs=args.epochs,
        batch_size=args.batch_size,
        verbose=run.verbose,
        callbacks=run.callbacks,  # history.csv, the time, Ctrl-C
    ).history
    run.write("model.keras", model.save)  # a whole file or none
    known = {"dataset": data.name, "classes": data.classes, "words": list(rows)}
    run.write("vocabulary.json", lambda path: path.write_text(json.dumps(known), encoding="utf-8"))

    # 4. Evaluate, beside what needs no network
    scores = model.evaluate(x_test, data.y_test[:, None], batch_size=1000, verbose=0, return_dict=True)
    answers = model.predict(x_test, batch_size=1000, verbose=0)[:, 0]  # (1066,)
    bag_answers, informative = bag_of_words(labelled, y_train, test)  # (1066,)
    baseline = np.mean(data.y_test == np.bincount(y_train).argmax())

    # 5. Show
    print("\nThe bag's most informative words, their nearest neighbours before the training and after it:")
    (embedding,) = (layer for layer in model.layers if isinstance(layer, layers.Embedding))
    for word in filter(rows.get, informative):
        before, after = (", ".join(words.neighbours(word, rows, matrix, 5))
                         for matrix in (vectors, embedding.get_weights()[0]))  # fmt: skip
        print(f"  {word:>12}   {before:45} {after}")
    title = f"{data.name}, {args.cell}, {args.vectors}; {runs.headline(scores)}"
    learning_curves(run.folder / "learning_curves.png", history, scores, title)
    readings(run.folder / "readings.png", chosen_sentences(model, data, test, answers, rows), data.classes, title)
    return run.finish(
        runs.headline(scores),
        f"bag of words {np.mean(bag_answers == data.y_test):.1%} | baseline {baseline:.1%}",
        model,
        test=scores,
        bag_of_words_accuracy=np.mean(bag_answers == data.y_test),
        baseline=baseline,
        vocabulary=len(rows),
    )


def bag_of_words(sentences, labels, test):
    """Return the classes, (count,), by which words a sentence has, and the four most informative words."""
    counts = TfidfVectorizer(analyzer=lambda sentence: sentence, sublinear_tf=True)
    bag = LogisticRegression(C=3.0).fit(counts.fit_transform(sentences), labels)
    order, names = np.argsort(bag.coef_[0]), counts.get_feature_names_out()
    return bag.predict(counts.transform(test)), [*names[order[:2]], *names[order[:-3:-1]]]


def chosen_sentences(model, data, test, answers, rows):
    """Return what readings.png shows: right answers that one word moved most, and the most confident mistakes."""
    wrong = np.flatnonzero((answers > 0.5) != data.y_test)
    worst = wrong[np.argsort(-np.abs(answers[wrong] - 0.5), kind="stable")][:SHOWN]
    right = np.setdiff1d(np.arange(len(test)), wrong)[:100]
    read = [*worst, *right]
    steps = dict(zip(read, read_along(model, [test[index] for index in read], rows), strict=True))
    moved = sorted(right, key=lambda index: -np.abs(np.diff(steps[index])).max(initial=0))[:SHOWN]
    print("The most confident mistakes:")
    for index in worst:
        print(f"  labelled {data.classes[data.y_test[index]]}, read as {data.classes[int(answers[index] > 0.5)]} "
              f"({max(answers[index], 1 - answers[index]):.1%}): {data.test[index]}")
    return {heading: [(data.classes[data.y_test[index]], test[index], steps[index]) for index in chosen]
            for heading, chosen in (("moved most by one word", moved), ("most confident mistakes", worst))}  # fmt: skip


def ask(sentence):
    """Print what the newest run says of a sentence, word by word; return it as a dict."""
    found = (path.parent for path in (results.RUNS_DIR / SCRIPT).glob("*/vocabulary.json"))
    folders = sorted((folder for folder in found if folder.name.isdecimal()), key=lambda folder: int(folder.name))
    if not folders:
        raise cli.UserError(f"--ask: no run in {cli.relative(results.RUNS_DIR / SCRIPT)} yet; "
                            "python text_classifier.py trains one")  # fmt: skip
    folder = folders[-1]
    model = saved.load_model(str(folder / "model.keras"), "a text classifier", lambda x, y: y == (None, 1))
    try:
        facts = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        classes, rows = facts["classes"], {word: words.FIRST + row for row, word in enumerate(facts["words"])}
    except (OSError, ValueError, KeyError) as error:
        raise cli.UserError(f"{cli.relative(folder)}: vocabulary.json is damaged ({error})") from None
    asked = words.split(sentence)
    if not any(word in rows for word in asked):
        raise cli.UserError(f"--ask {sentence!r}: {cli.relative(folder)}, trained on {facts['dataset']}, knows none of "
                            "these words")  # fmt: skip
    (probabilities,) = read_along(model, [asked], rows)  # (n + 1,)
    print(f"{cli.relative(folder)}, trained on {facts['dataset']}: probability of {classes[1]} after each word")
    for word, probability in zip(["", *asked], probabilities, strict=False):
        note = "" if not word or word in rows else "  (not in the vocabulary)"
        print(f"{word:>20} {probability:6.1%} {'#' * round(40 * probability)}{note}")
    answer, probability = classes[int(probabilities[-1] > 0.5)], float(probabilities[-1])
    print(f"{answer}: {max(probability, 1 - probability):.1%}")
    return {"script": SCRIPT, "answer": answer, "probability": probability, "folder": folder}


def parse(argv):
    """Return the command line as a namespace; its defaults are the constants above."""
    parser = cli.parser(__doc__, epochs=EPOCHS, batch_size=BATCH_SIZE, images=False)
    parser.add_argument("--data", type=cli.path, metavar="PATH",
                        help="a .csv or .tsv file with label and text, a folder with the film reviews, or the word "
                             "docstrings (the stand-in) or reviews (no stand-in); default: found or downloaded")
    parser.add_argument("--cell", choices=CELLS, default="lstm", metavar="NAME",
                        help=f"what a time step does: {', '.join(CELLS)} (default %(default)s)")
    parser.add_argument("--vectors", type=cli.path, default="trained", metavar="KIND",
                        help="frozen: learned from text without labels, as they are; trained: the same, fine-tuned "
                             "(default); random, and trained; or a file of GloVe or word2vec, frozen")
    parser.add_argument("--labels", type=cli.number(int, at_least=2), metavar="N",
                        help="only the first N training sentences have a label (default all)")
    parser.add_argument("--ask", metavar="SENTENCE", help="ask the newest run, and train nothing")
    return parser.parse_args(argv)


if __name__ == "__main__":
    script.launch(main)
