"""The pages of the seed notes, made of seeds.toml: `python docs/seeds/render.py en` or `zh` prints one."""

import re
import sys
import tomllib
from pathlib import Path

SEEDS = Path(__file__).with_name("seeds.toml")
WORDS = {
    "item": {"en": "Item", "zh": "条目"},
    "notes": {"en": "Notes", "zh": "笔记"},
    "api": {"en": "In fastnn", "zh": "对应接口"},
    "script": {"en": "At full length", "zh": "完整示例"},
    "erratum": {"en": "Erratum", "zh": "勘误"},
}


def sections():
    """Return the sections of seeds.toml, each with its items."""
    return tomllib.loads(SEEDS.read_text(encoding="utf-8"))["section"]


def formula(item, language):
    """Return the formula of an item; in Chinese so are its words, as far as the table of seeds.toml has them."""
    if language == "en":
        return item["formula"]
    chinese = tomllib.loads(SEEDS.read_text(encoding="utf-8"))["chinese"]
    words = re.compile(r"(?<!_)\\text\{(\s*)(.*?)(\s*)\}")
    return words.sub(lambda found: rf"\text{{{found[1]}{chinese.get(found[2], found[2])}{found[3]}}}", item["formula"])


def page(language):
    """Return all sections as MyST Markdown: for each a table of its items, then each with its example."""
    words, lines = {name: word[language] for name, word in WORDS.items()}, []
    for number, section in enumerate(sections(), 1):
        lines += [f"## {section[language]}", ""]
        lines += [f"| {words['item']} | {words['notes']} | {words['api']} |", "|---|---|---|"]
        for place, item in enumerate(section["item"], 1):
            first = _link(item["api"][0])
            lines.append(f"| [{item[language]}](#seeds-{language}-{number}-{place}) | {item['seeds']} | {first} |")
        lines.append("")
        for place, item in enumerate(section["item"], 1):
            lines += [f"(seeds-{language}-{number}-{place})=", f"### {item[language]}", ""]
            lines += ["$$", formula(item, language), "$$", ""]
            lines += [f"{words['api']}: {', '.join(map(_link, item['api']))}", ""]
            lines += ["```pycon", item["example"].strip(), "```", ""]
            if "figure" in item:
                lines += [f"![{item[language]}](../examples/{item['figure']})", ""]
            if "script" in item:
                lines += [f"{words['script']}: `{item['script']}`", ""]
            if f"erratum_{language}" in item:
                lines += [f"**{words['erratum']}.** {item[f'erratum_{language}']}", ""]
    return "\n".join(lines)


def _link(name):
    return f"{{py:obj}}`{name}`"


if __name__ == "__main__":
    print(page(sys.argv[1]))
