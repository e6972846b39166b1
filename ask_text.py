"""A sentence of your own, read by a network that text_classifier.py trained; this script continues that lesson.

Idea      A recurrent network has an answer after every word. How far a word moves it shows what that word means to the
          network after the words before it. A negation would turn the next word's step round.
Run       python ask_text.py "not a good film , but a great one"
          python ask_text.py "a good film" --model runs/text_classifier/2
Expect    The probability of "positive" after each word: 59.1 % after "good", 22.8 % after "bad". Also readings.png.
Try next  "good" and "not good"    Is "not" a negation, or one more negative word? Try "bad" and "not bad", too.
          "a great film , not a bad one"    What if "great" and "bad" change places, which a bag of words cannot see?
          "a zyx film"    How far does a word that it has never read move the answer?
Source    Document 000: my_rnn, my_lstm and my_gru.
"""

import json
import os
from pathlib import Path

from common import cli, runs  # the folder common/ beside this file; first, to silence TensorFlow's log
from common.data.saved_models import load_model
from common.plots.text_classifier import readings
from common.text import word_vectors
from text_classifier import read_along

LESSON = "text_classifier"


def main(argv=None):
    """Read the sentence, print and draw the answer after each word; return the content of result.json."""
    args = parse(argv)

    # 1. The network, and the words that it knows
    trained = Path(args.model) if args.model else newest_run()
    model, known = load(trained)
    classes = known["classes"]
    rows = {word: row for row, word in enumerate(known["words"], start=word_vectors.FIRST)}
    words = word_vectors.split(args.sentence)
    unknown = {word for word in words if word not in rows}
    if unknown >= {*words}:
        raise cli.UserError(f"{args.sentence!r}: {cli.relative(trained)}, trained on {known['dataset']}, knows none of "
                            "these words")
    print(f"{cli.relative(trained)}, trained on {known['dataset']}: probability of {classes[1]} after each word")

    # 2. Its answer before the first word and after each
    (probabilities,) = read_along(model, [words], rows)  # (words + 1,)
    for word, probability in zip(["", *words], probabilities, strict=False):  # the end of a long sentence is not read
        note = "  (not in the vocabulary)" if word in unknown else ""
        print(f"{word:>20} {probability:6.1%} {'#' * round(40 * probability)}{note}")
    probability = float(probabilities[-1])
    answer = classes[int(probability > 0.5)]
    print(f"{answer}: {max(probability, 1 - probability):.1%}")

    # 3. Show
    folder = runs.new_folder(__file__, args.out)
    title = f"{known['dataset']}, {cli.relative(trained)}"
    readings(folder / "readings.png", [[(f"answer: {answer}", words, probabilities)]], classes, title)
    return runs.finish(folder, args, model=str(trained), answer=answer, probability=probability)


def newest_run():
    """Return the folder of the newest finished run of LESSON. Raises cli.UserError where there is none."""
    results = (runs.RUNS_DIR / LESSON).glob("*/result.json")
    for path in sorted(results, key=os.path.getmtime, reverse=True):
        if runs.read_result(path.parent)["status"] == "finished":  # neither interrupted nor diverged
            return path.parent
    raise cli.UserError(f"no finished run of {LESSON}.py in runs/: python {LESSON}.py trains one; "
                        "name the folder of a run that was stopped with --model")


def load(folder):
    """Return the network of a run of LESSON, and what vocabulary.json says: data set, classes and words.

    Raises cli.UserError where `folder` is not that of such a run.
    """
    path = folder / "vocabulary.json"
    if not path.exists():
        raise cli.UserError(f"{cli.relative(folder)}: not a run of {LESSON}.py; name a folder such as runs/{LESSON}/1")
    model = load_model(folder / "model.keras", "a text classifier", lambda inputs, outputs: outputs == (None, 1))
    return model, json.loads(path.read_text(encoding="utf-8"))


def parse(argv):
    """Return the command line as a namespace."""
    parser = cli.parser(__doc__, images=False)
    parser.add_argument("sentence", metavar="SENTENCE", help="what to read, in quotes")
    parser.add_argument("--model", type=cli.path, metavar="RUN",
                        help=f"folder of a run of {LESSON}.py (default: the newest that has finished)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.launch(main)
