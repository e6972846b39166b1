"""A picture opened, whatever its kind, and the digits in it cut out, whatever the colours and the light."""

import warnings

from common import cli

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

VIEW = 256  # pixels: longest side of what is searched for ink, so that a large picture takes no longer than a small one
ENLARGED = 8  # times, at most, that a small picture is enlarged
PAPER = 48  # pixels: longest side of the same where the colour of the paper is estimated
STROKE = VIEW // 4 + 1  # pixels: wider than any stroke
TABLE = 0.2  # difference of the border's colour from the middle's where the paper lies on a table
BLUR = 1.0  # pixels: standard deviation of the Gaussian against the noise of a camera
CORE = 0.3  # of the ink's full amount: the rest may be the faint lines of ruled paper
FAINTEST = 0.04  # difference from the paper, as a fraction of its brightness, that may be ink
CLEAR = 5  # standard deviations of the noise that ink stands out
LOWEST = 6  # pixels: height of the smallest digit
MOST = 30  # digits in a picture; more pieces than that are texture
EIGHT = np.ones((3, 3))  # pixels that touch by a corner are one piece


def open_picture(path):
    """Return the picture in a file, turned as its camera was held, the first one of an animation.

    Raises cli.UserError where there is none, or one of more pixels than Pillow accepts.
    """
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            image.load()
            return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        reason = "not there"
    except Image.DecompressionBombError:
        reason = f"too large; at most {2 * Image.MAX_IMAGE_PIXELS:,} pixels are read"
    except Image.UnidentifiedImageError:
        reason = "not a picture that Pillow knows, such as PNG, JPEG, WebP or BMP"
    except Exception as error:  # a damaged file raises whatever its decoder stumbles over
        reason = f"cannot be read as a picture ({getattr(error, 'strerror', None) or error})"
    raise cli.UserError(f"{path}: {reason}")


def plain(image):
    """Return a picture as RGB, as RGBa (colours times opacity, so that no background is needed), or as grey F."""
    if image.mode[0] in "IF":  # 16 bits and more, which convert("L") would clip
        grey = np.asarray(image).astype(np.float32)
        grey -= grey.min()
        return Image.fromarray(grey * (255 / max(grey.max(), 1)))
    return image.convert("RGBA").convert("RGBa") if image.has_transparency_data else image.convert("RGB")


def cut_out(image):
    """Return the digits in a PIL image from left to right: the amount of ink of each, and where they are.

    An amount is float (height, width) in [0, 1] of whatever size, cropped to its ink; the boxes are float (count, 4)
    in pixels of the image: left, upper, right, lower. Raises cli.UserError where there is none.
    """
    image = plain(image)
    part = np.array([0, 0, *image.size], float)
    for _ in range(3):  # each time closer
        view, scale = _look(image, part.tolist())
        amounts, boxes = _search(_away(view))
        if not 0 < len(boxes) <= MOST:
            raise cli.UserError("no digit found; the strokes must stand out against plain or ruled paper")
        margin = (boxes[:, 3] - boxes[:, 1]).max() / 2
        closer = np.concatenate([boxes[:, :2].min(axis=0) - margin, boxes[:, 2:].max(axis=0) + margin])
        boxes, closer = (np.clip(box / scale + part[[0, 1, 0, 1]], 0, image.size * 2) for box in (boxes, closer))
        if scale == ENLARGED or max(closer[2:] - closer[:2]) > 0.6 * max(part[2:] - part[:2]):
            break
        part = closer
    return amounts, boxes


def _search(away):
    """Return what `cut_out` does, from what `_away` returns; the boxes are in pixels of the view."""
    distance = np.linalg.norm(away, axis=-1)
    clear = max(FAINTEST, np.median(distance) + CLEAR * _noise(distance), CORE * np.percentile(distance, 99.9))
    inked = _inside(distance > clear) > 0
    if not inked.any():
        return [], []
    colour = away[inked & (distance >= np.percentile(distance[inked], 75))].mean(axis=0)
    amount = away @ (colour / max(np.linalg.norm(colour), 1e-6))  # (height, width), of dark ink or of light
    faintest, full = max(FAINTEST, CLEAR * _noise(amount)), np.percentile(amount[inked], 85)
    labels = _inside(amount > max(CORE * full, faintest))  # the faint lines of ruled paper stay below
    found = _together(labels)
    if np.isin(labels, [number for *_, numbers in found for number in numbers]).sum() < (labels > 0).sum() / 2:
        return [], []  # texture: most of it is too small for a digit
    amounts, boxes = [], []
    for left, top, right, bottom, numbers in found:
        edge = max(1, round(0.05 * (bottom - top)))  # pixels around the strokes that are partly ink
        x, y = max(0, left - edge), max(0, top - edge)
        window = slice(y, bottom + edge), slice(x, right + edge)
        own = ndimage.binary_dilation(np.isin(labels[window], numbers), EIGHT, iterations=edge)
        own &= amount[window] > max(0.25 * full, faintest)
        rows, columns = ndimage.find_objects(own.astype(int))[0]
        amounts.append(np.clip(amount[window] * own / full, 0, 1)[rows, columns])
        boxes.append((x + columns.start, y + rows.start, x + columns.stop, y + rows.stop))
    return amounts, np.array(boxes)


def _noise(values):
    """Return the standard deviation of normal noise, by a median, which a little ink does not change."""
    return 1.4826 * np.median(np.abs(values - ndimage.uniform_filter(values, 9)))


def _inside(mask):
    """Return a mask's pieces, numbered, without those at the edge (a table) unless all others are specks."""
    labels, count = ndimage.label(mask, EIGHT)
    heights = np.array([0, *(rows.stop - rows.start for rows, _ in ndimage.find_objects(labels))])
    outside = np.isin(np.arange(count + 1), np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    if heights[~outside].max(initial=0) > max(LOWEST, 0.05 * heights.max()):
        labels[outside[labels]] = 0
    return labels


def _together(labels):
    """Return [left, top, right, bottom, numbers] of each digit, from left to right; a 5 may have two pieces."""
    places = [(number, *place) for number, place in enumerate(ndimage.find_objects(labels), 1) if place]
    found = [(columns.start, rows.start, columns.stop, rows.stop, [number]) for number, rows, columns in places]
    tallest = max((bottom - top for _, top, _, bottom, _ in found), default=0)
    digits = []
    for piece in sorted(piece for piece in found if max(piece[2] - piece[0], piece[3] - piece[1]) > 0.12 * tallest):
        for place, digit in enumerate(digits):
            across = max(piece[0], digit[0]) - min(piece[2], digit[2])  # the gap; below 0 they overlap
            down = max(piece[1], digit[1]) - min(piece[3], digit[3])
            narrower = min(piece[2] - piece[0], digit[2] - digit[0])
            if (across < -narrower / 2 and down < tallest / 4) or max(across, down) < tallest / 20:
                corners = *map(min, piece[:2], digit[:2]), *map(max, piece[2:4], digit[2:4])
                digits[place] = [*corners, piece[4] + digit[4]]
                break
        else:
            digits.append(piece)
    return [digit for digit in digits if digit[3] - digit[1] >= max(LOWEST, 0.4 * max(d[3] - d[1] for d in digits))]


def _look(image, box):
    """Return the part `box` of a plain picture as float32 (height, width, channels) in [0, 1], and its scale."""
    width, height = box[2] - box[0], box[3] - box[1]
    scale = min(VIEW / max(width, height), ENLARGED)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    view = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=3), np.float32) / 255
    return view.reshape(size[1], size[0], -1), scale


def _away(view):
    """Return how far each pixel's colour is from the paper's, (height, width, channels), over its brightness."""
    view = ndimage.gaussian_filter(view, (BLUR, BLUR, 0))
    darkest, brightest = _paper(view)
    away = view - np.clip(view, darkest, brightest)
    # Near ink, the median takes the wrong side of a shadow's edge for the paper. An opening (for dark ink, a closing)
    # keeps such edges, but takes the inside of a loop for ink. What both find is ink.
    away = np.clip(away, view - ndimage.grey_closing(view, (STROKE, STROKE, 1)),
                   view - ndimage.grey_opening(view, (STROKE, STROKE, 1)))  # fmt: skip
    return away / np.maximum(brightest.mean(axis=-1, keepdims=True), 0.25)


def _paper(view):
    """Return the darkest and the brightest colour of the paper around each pixel, each (height, width, channels)."""
    height, width, _ = view.shape  # the median along the rows, then along the columns, keeps a shadow's straight edge
    shrink = PAPER / max(height, width)
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    paper = np.stack([resize(channel, size, Image.Resampling.BOX) for channel in np.moveaxis(view, -1, 0)])
    border = np.concatenate([paper[:, 0], paper[:, -1], paper[:, :, 0], paper[:, :, -1]], axis=1)  # (channels, pixels)
    table = np.abs(np.median(border, axis=1) - np.median(paper, axis=(1, 2))).max() > TABLE
    for axis in (2, 1):
        margin = [(PAPER // 2,) * 2 if axis == other else (0, 0) for other in range(3)]
        wide = np.pad(paper, margin, mode="reflect" if table else "edge")
        paper = np.median(np.lib.stride_tricks.sliding_window_view(wide, PAPER + 1, axis), axis=-1)
    around = ndimage.minimum_filter(paper, (1, 3, 3)), ndimage.maximum_filter(paper, (1, 3, 3))
    return [np.stack([resize(channel, (width, height), Image.Resampling.BILINEAR) for channel in extreme], axis=-1)
            for extreme in around]  # fmt: skip


def resize(grey, size, method):
    """Return a float array (height, width) in another size, (width, height)."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(grey, np.float32)).resize(size, method))
