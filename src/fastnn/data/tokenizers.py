"""Text cut into tokens, and tokens put together again."""

import importlib
import re
from functools import cache

from fastnn._checks import check_choice

__all__ = ["detokenize", "tokenize"]

HAN = "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
CLITIC = r"['’](?:s|m|d|ll|re|ve)\b"

WORD = re.compile(
    rf"""
      (?-i:Mr|Mrs|Ms|Messrs|Mme|Dr|Prof|Rev|Hon|Gov|Sen|Rep|Gen|Col|Capt|Lt|Sgt|St|Jr|Sr|vs|etc)\.
    | (?:[a-z]\.){{2,}}                                   # U.S., e.g.
    | (?-i:[A-HJ-Z])\.(?=\s+(?-i:[A-Z]))                  # initials
    | \d+(?:[.,:/]\d+)*                                   # 1,000.50 or 12:30
    | [{HAN}]                                             # no spaces stand between words of Chinese
    | can(?=not\b)
    | [^\W{HAN}]+(?:-\w+)*?(?=n['’]t\b) | n['’]t\b        # does n't
    | {CLITIC}                                            # king 's
    | [^\W{HAN}]+(?:(?:-|(?!{CLITIC})['’])[^\W{HAN}]+)*   # words, with hyphens and apostrophes in them
    | \.{{2,}} | -{{2,}} | `` | ''                        # marks of several characters
    | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)
CHINESE = f"[{HAN}，。？！；：]"
GLUED = re.compile(
    rf" (?=n['’]t\b|{CLITIC}|[.,;:!?%)\]}}…])|(?<=[(\[{{$]) |(?<={CHINESE}) (?={CHINESE})", re.IGNORECASE
)


def _words(text):
    return WORD.findall(text)


def _nltk(text):
    return _package("nltk.tokenize", "nltk").word_tokenize(text, preserve_line=True)


def _spacy(text):
    return [token.text for token in _english()(text) if not token.is_space]


@cache
def _english():
    return _package("spacy", "spacy").blank("en")


def _package(module, kind):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"the tokenizer {kind!r} needs a package: pip install 'fastnn-core[text]'") from error


TOKENIZERS = {"word": _words, "character": list, "whitespace": str.split, "nltk": _nltk, "spacy": _spacy}


def tokenize(text, kind="word"):
    """Return the tokens of a text.

    Parameters
    ----------
    text : str
    kind : {"word", "character", "whitespace", "nltk", "spacy"}
        "word" is our own: words, numbers and marks, contractions taken apart as in the Penn treebank, a full stop
        left at titles, initials and abbreviations such as U.S., every Chinese character by itself. "character" keeps
        everything, "whitespace" cuts at white space alone. "nltk" is its `word_tokenize(text, preserve_line=True)`,
        "spacy" its `blank("en")`; neither needs a file beyond its package (extra `text`).

    Returns
    -------
    list of str

    Raises
    ------
    ImportError
        If the package of an adapter is not installed.

    Notes
    -----
    "Text preprocessing", section 4 of the seed notes on Dive into Deep Learning, whose example is the one below.

    Examples
    --------
    >>> from fastnn.data import tokenize
    >>> tokenize("Mr. Chen doesn't agree with my suggestion.")
    ['Mr.', 'Chen', 'does', "n't", 'agree', 'with', 'my', 'suggestion', '.']
    >>> tokenize("学习。", "character")
    ['学', '习', '。']
    """
    check_choice(kind, TOKENIZERS, "kind")
    if not isinstance(text, str):
        raise TypeError(f"text is a {type(text).__name__}, expected a str")
    return TOKENIZERS[kind](text)


def detokenize(tokens, kind="word"):
    """Return a text that reads like the one that the tokens came from.

    Characters are joined as they are, whitespace tokens by spaces. Words are joined by spaces too, except before marks
    and the second half of a contraction, after an opening bracket, and within Chinese; how much white space there was,
    and on which side of a quotation mark, no token tells.

    Parameters
    ----------
    tokens : iterable of str
    kind : {"word", "character", "whitespace", "nltk", "spacy"}

    Returns
    -------
    str

    Examples
    --------
    >>> from fastnn.data import detokenize, tokenize
    >>> detokenize(tokenize("Mr. Chen doesn't agree (with my suggestion)."))
    "Mr. Chen doesn't agree (with my suggestion)."
    """
    check_choice(kind, TOKENIZERS, "kind")
    if kind == "character":
        return "".join(tokens)
    text = " ".join(tokens)
    return text if kind == "whitespace" else GLUED.sub("", text)
