"""Read what the lines of a layer list say: `layers.Dense(256),  # (256,)  200,960 = 784 x 256 + 256`."""

import inspect
import re

LINE = re.compile(r"^\s+(?:layers\.|\*|\S+\(|recurrent).*#\s\(([\d, ]+)\)(?:  ([\d,]+) = ([\dx*+() ]+))?", re.MULTILINE)


def layer_lines(function):
    """Return (output shape, parameters) for each commented layer in a function's source, in their order.

    A line without arithmetic has 0 parameters. Raises AssertionError where a formula does not give its number.
    """
    lines = []
    for shape, total, formula in LINE.findall(inspect.getsource(function)):
        count = int(total.replace(",", "") or 0)
        assert eval(formula.replace("x", "*") or "0") == count, f"{formula} is not {total}"
        lines.append((tuple(int(size) for size in shape.split(",") if size.strip()), count))
    return lines
