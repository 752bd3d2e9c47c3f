#!/usr/bin/env python3
"""Writes what the tests expect of our Jinja, as Python's Jinja2 renders it when set up as transformers sets it up:
"expected" (or "fails": true) of each case in features.json, and expected.json, every template of families/ with every
conversation of conversations.json. Needs python3-jinja2 3.1. Run it after changing a case or a template."""

import datetime
import json
from pathlib import Path

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = Path(__file__).parent
NOW = datetime.datetime(2024, 7, 1, 12, 0, 0)


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("render"), [], [], body).set_lineno(line)

    def render(self, caller):
        return caller()


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(template, variables):
    try:
        return {"expected": environment().from_string(template).render(**variables)}
    except Exception:  # whatever it is, rendering fails
        return {"fails": True}


def write(name, value):
    with open(HERE / name, "w") as out:
        json.dump(value, out, indent=1)
        out.write("\n")


def main():
    features = json.load(open(HERE / "features.json"))
    for case in features["cases"]:
        for key in ("expected", "fails"):
            case.pop(key, None)
        case.update(render(case["template"], features["variables"]))
    write("features.json", features)

    talks = json.load(open(HERE / "conversations.json"))
    expected = []
    for path in sorted((HERE / "families").glob("*.jinja")):
        for name, variables in talks["conversations"].items():
            outcome = render(path.read_text(), {**talks["shared"], **variables})
            expected.append({"family": path.stem, "conversation": name, **outcome})
    write("expected.json", expected)


if __name__ == "__main__":
    main()
