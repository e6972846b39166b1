"""Open a picture of any kind, and cut out the digits in it, whatever its colours and its light."""

from common import cli

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

VIEW = 256  # pixels: longest side of what is searched, so that a large picture takes no longer than a small one
ENLARGED = 8  # times, at most, that a small picture is enlarged
PAPER = 48  # pixels: longest side of the same where the colour of the paper is estimated
STROKE = VIEW // 4 + 1  # pixels: wider than any stroke
CORE = 0.3  # fraction of the strongest ink that is surely ink
RIM = 0.25  # fraction of the ink's full amount at the rim of its strokes; the faint lines of ruled paper stay below
FAINTEST = 0.04  # difference from the paper, as a fraction of its brightness, that may be ink
CLEAR = 5  # standard deviations of the noise by which ink stands out
LOWEST = 6  # pixels: height of the smallest digit


def open_picture(path):
    """Return the picture in a file as a PIL image, turned as its camera was held. Raises cli.UserError for none."""
    try:
        return ImageOps.exif_transpose(Image.open(path))
    except Exception as error:  # a damaged file raises whatever its decoder stumbles over
        raise cli.UserError(f"{path}: cannot be read as a picture, such as PNG or JPEG ({error})") from None


def plain(image):
    """Return a PIL image as RGB, as RGBa (colours times opacity: no background is needed), or as grey F."""
    if image.mode[0] in "IF":  # 16 bits and more, which convert("L") would clip
        grey = np.asarray(image).astype(np.float32)
        grey -= grey.min()
        return Image.fromarray(grey * (255 / max(grey.max(), 1)))
    if image.has_transparency_data:
        return image.convert("RGBA").convert("RGBa")
    return image.convert("RGB")


def cut_out(image):
    """Return the digits in a PIL image from left to right: the amounts of ink, and the boxes in which they lie.

    An amount is float (height, width) in [0, 1] of whatever size, cropped to its ink; the boxes are float (count, 4)
    in pixels of the image: left, upper, right, lower. Raises cli.UserError where there is none.
    """
    image = plain(image)
    part = np.array([0, 0, *image.size], float)
    for _ in range(3):  # each time closer
        view, scale = _look(image, part)
        amounts, boxes = _search(_difference_from_paper(view))
        if not 0 < len(boxes) <= 30:  # more pieces are texture
            raise cli.UserError("no digit found; the strokes must stand out against plain or ruled paper")
        largest = image.size * 2  # width, height, width, height
        boxes = np.clip(boxes / scale + part[[0, 1, 0, 1]], 0, largest)  # left, upper, right, lower
        margin = (boxes[:, 3] - boxes[:, 1]).max() / 2
        closer = np.append(boxes[:, :2].min(axis=0) - margin, boxes[:, 2:].max(axis=0) + margin).clip(0, largest)
        if scale == ENLARGED or max(closer[2:] - closer[:2]) > 0.6 * max(part[2:] - part[:2]):
            break
        part = closer
    return amounts, boxes


def _look(image, box):
    """Return the part `box` of a plain picture as float32 (height, width, channels) in [0, 1], and its scale."""
    width, height = box[2:] - box[:2]
    scale = min(VIEW / max(width, height), ENLARGED)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    view = image.resize(size, Image.Resampling.BILINEAR, box.tolist(), reducing_gap=3)
    return np.asarray(view, np.float32).reshape(size[1], size[0], -1) / 255, scale


def _difference_from_paper(view):
    """Return each pixel's colour less the paper's, (height, width, channels), as a fraction of its brightness."""
    view = ndimage.gaussian_filter(view, (1, 1, 0))  # against the noise of a camera
    darkest, brightest = _paper(view)
    difference = view - np.clip(view, darkest, brightest)
    # Near ink, the median takes the wrong side of a shadow's edge for the paper. An opening (for dark ink, a closing)
    # keeps such edges, but takes the inside of a loop for ink. What both find is ink.
    most = view - ndimage.grey_opening(view, (STROKE, STROKE, 1))  # at least 0
    least = view - ndimage.grey_closing(view, (STROKE, STROKE, 1))  # at most 0
    return np.clip(difference, least, most) / np.maximum(brightest.mean(axis=-1, keepdims=True), 0.25)


def _paper(view):
    """Return the darkest and the brightest colour of the paper around each pixel, (2, height, width, channels)."""
    height, width, _ = view.shape
    step = -(-max(height, width) // PAPER)  # pixels, rounded up
    paper = ndimage.uniform_filter(view, (step, step, 1))[::step, ::step]
    border = np.concatenate([paper[0], paper[-1], paper[:, 0], paper[:, -1]])  # (pixels, channels)
    contrast = np.abs(np.median(border, axis=0) - np.median(paper, axis=(0, 1))).max()
    beyond = "mirror" if contrast > 0.2 else "nearest"  # what the medians see beyond the edge: no table around it
    paper = ndimage.median_filter(paper, (1, PAPER + 1, 1), mode=beyond)  # along the rows, then along the columns:
    paper = ndimage.median_filter(paper, (PAPER + 1, 1, 1), mode=beyond)  # this keeps a shadow's straight edge
    around = np.stack([ndimage.minimum_filter(paper, (3, 3, 1)), ndimage.maximum_filter(paper, (3, 3, 1))])
    return around.repeat(step, axis=1).repeat(step, axis=2)[:, :height, :width]


def _search(difference):
    """Return what `cut_out` does, given what `_difference_from_paper` returns; the boxes are in pixels of the view."""
    distance = np.linalg.norm(difference, axis=-1)
    clear = max(FAINTEST, np.median(distance) + CLEAR * _noise(distance), CORE * np.percentile(distance, 99.9))
    inked = _pieces(distance > clear) > 0
    if not inked.any():
        return [], []
    strongest = inked & (distance >= np.percentile(distance[inked], 75))
    colour = difference[strongest].mean(axis=0)  # (channels,), from the paper's to the ink's
    amount = difference @ (colour / max(np.linalg.norm(colour), 1e-6))  # (height, width); below 0 is no ink
    full = np.percentile(amount[inked], 85)
    pieces = _pieces(amount > max(RIM * full, FAINTEST, CLEAR * _noise(amount)))
    sizes = _sizes(pieces)
    large = sizes.max(axis=1) > 0.12 * sizes[:, 1].max(initial=0)  # the rest are specks
    digits = _join(_keep(pieces, large))
    heights = _sizes(digits)[:, 1]
    digits = _keep(digits, heights >= max(LOWEST, 0.4 * heights.max(initial=0)))
    if (digits > 0).sum() < (pieces > 0).sum() / 2:
        return [], []  # texture: most of it is too small for a digit
    boxes = _boxes(digits)
    order = boxes[:, 0].argsort()  # from left to right
    windows = ndimage.find_objects(digits)
    amounts = []
    for number in order:
        own = digits[windows[number]] == number + 1
        amounts.append(np.clip(own * amount[windows[number]] / full, 0, 1))
    return amounts, boxes[order]


def _noise(values):
    """Return the standard deviation of normal noise, by a median, which a little ink does not change."""
    return 1.4826 * np.median(np.abs(values - ndimage.uniform_filter(values, 9)))


def _pieces(mask):
    """Return the pieces of a mask, int (height, width): 0 where there is no ink, else the piece's number from 1 on."""
    pieces, count = ndimage.label(mask, np.ones((3, 3)))  # joined also where they touch by a corner
    edge = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])  # a table, unless the rest are specks
    inside = _keep(pieces, ~np.isin(np.arange(1, count + 1), edge))
    speck = max(LOWEST, 0.05 * _sizes(pieces)[:, 1].max(initial=0))
    return inside if _sizes(inside)[:, 1].max(initial=0) > speck else pieces


def _boxes(pieces):
    """Return the boxes (count, 4) of pieces: left, upper, right, lower."""
    boxes = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in ndimage.find_objects(pieces)]
    return np.reshape(boxes, (-1, 4)).astype(int)


def _sizes(pieces):
    """Return the sizes (count, 2) of pieces: width, height."""
    boxes = _boxes(pieces)
    return boxes[:, 2:] - boxes[:, :2]


def _keep(pieces, wanted):
    """Return the pieces that are `wanted`, a bool (count,), numbered anew: new numbers in a table, looked up by old."""
    return np.append(0, np.where(wanted, np.cumsum(wanted), 0))[pieces]


def _join(pieces):
    """Return the pieces with one number for all that belong to a digit: the bar of a 5 may be a piece of its own."""
    left, upper, right, lower = _boxes(pieces).T
    across = np.maximum.outer(left, left) - np.minimum.outer(right, right)  # of each two the gap, below 0 an overlap
    down = np.maximum.outer(upper, upper) - np.minimum.outer(lower, lower)
    narrower = np.minimum.outer(right - left, right - left)
    tallest = (lower - upper).max(initial=0)
    one_above_the_other = (across < -narrower / 2) & (down < tallest / 4)
    touching = np.maximum(across, down) < tallest / 20
    _, digits = connected_components(one_above_the_other | touching)
    return np.append(0, digits + 1)[pieces]
