#!/usr/bin/env python3
"""Checks the rules of docs/architecture.md that a compiler does not: who may include whom, which file may include which
library, sizes of files and functions, and words that do not belong. Prints one line a fault; exit 1 when there is one.
Runs as a test (ctest -R tidy)."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# module -> modules its files may include (its own and base are always allowed). Bottom to top.
MAY_INCLUDE = {
    "base": [],
    "assets": [],
    "tensor": [],
    "net": [],
    "formats": ["tensor"],
    "mesh": ["net"],
    "cluster": [],
    "hub": ["net", "formats", "tensor", "assets"],
    "node": ["net", "mesh", "cluster", "hub"],
    "api": ["net", "cluster", "node"],
    "kernels": ["tensor"],
    "transport": ["tensor"],
    "backend": ["tensor", "kernels", "transport"],
    "text": [],
    "models": ["tensor", "formats", "backend", "transport"],
    "engine": ["tensor", "text", "backend", "models", "transport"],
    "runner": ["tensor", "formats", "kernels", "transport", "backend", "text", "models", "engine", "assets"],
    "cli": None,  # anything
}

# Files outside the table's rows that may be included all the same, by whom.
ALSO_ALLOWED = {
    "runner/protocol.h": ["node", "api"],
    "runner/frames.h": ["node", "api"],
    "net/socket.h": ["transport"],
}

# Include prefix -> files (or folders, ending in /) that may include it: each library has one wrapper.
FENCES = {
    "kernels/": ["src/kernels/", "src/backend/cpu/", "bench/"],
    "boost/beast": ["src/net/"],
    "boost/": ["src/net/", "src/node/", "src/api/", "src/mesh/"],
    "openssl/": ["src/net/", "src/base/", "src/hub/", "src/mesh/", "src/transport/"],
    "curl/": ["src/net/", "src/hub/"],
    "CLI/": ["src/cli/"],
    "toml++/": ["src/hub/", "src/cli/"],
    "pcre2.h": ["src/text/"],
    "histedit.h": ["src/cli/"],
    "editline/": ["src/cli/"],
    "spdlog/": ["src/base/log.cc"],
    "simdjson.h": ["src/text/", "src/formats/"],
    "immintrin.h": ["src/kernels/", "src/transport/codec/"],
    "arm_neon.h": ["src/kernels/", "src/transport/codec/"],
    "transport/codec/": ["src/transport/", "bench/"],
    "mlx/": ["src/backend/mlx/"],
    "infiniband/": ["src/transport/verbs/"],
    "ucp/": ["src/transport/ucx/"],
}

BANNED = [
    (re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"), "unfinished work belongs in an issue"),
    (re.compile(r"\bthrow\s+\w"), "we never throw; return a Result"),
    (re.compile(r"\bstd::(cout|cerr)\b"), "use fmt::print or base/log.h"),
    (re.compile(r"(?<![\w/.])/(work|root|home/\w+)/"), "a path of one machine"),
]
BANNED_IN_TESTS = [
    (re.compile(r"\b(sleep_for|sleep_until|usleep|nanosleep)\b"), "tests do not sleep; wait for the event"),
]
BANNED_IN_HEADERS = [(re.compile(r"^using namespace"), "no using namespace at file scope in headers")]

MAX_FILE_LINES = 600
MAX_LONG_FILE_LINES = 1200  # -inl.h and tests
MAX_FUNCTION_LINES = 70
MAX_LINE_COLUMNS = 125
FUNCTION_EXEMPT = "tidy: flat switch"  # a comment in the function that says why it may be long


def is_test(path):
    return path.name.endswith("_test.cc") or path.parts[0] == "tests"


def check_include(path, line, faults):
    match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
    if not match:
        return
    target = match.group(1)
    for prefix, allowed in FENCES.items():
        if target.startswith(prefix):
            if not any(str(path).startswith(place) for place in allowed) and not is_test(path):
                faults.append(f"includes {target}, which only {', '.join(allowed)} may")
            break
    if path.parts[0] != "src" or is_test(path):
        return
    module, target_module = path.parts[1], target.split("/")[0]
    if target_module not in MAY_INCLUDE or target_module in (module, "base"):
        return
    allowed = MAY_INCLUDE.get(module)
    if allowed is None or target_module in allowed or module in ALSO_ALLOWED.get(target, []):
        return
    faults.append(f"{module}/ may not include {target}")


def function_lengths(lines):
    """Yields (first line, length, text) of each function body: a brace at file, namespace or class level that follows a
    parenthesis. A heuristic that clang-format's layout makes reliable."""
    depth_kind = []  # per open brace: "outer" (namespace, class) or "function" or "inner"
    start = 0
    in_block_comment = False
    in_raw_string = False
    statement = ""
    for number, line in enumerate(lines):
        code = line
        if in_raw_string:
            if ')"' not in code and not re.search(r'\)\w*"', code):
                continue
            in_raw_string = False
            code = re.sub(r'^.*?\)\w*"', '""', code)
        if in_block_comment:
            if "*/" not in code:
                continue
            in_block_comment = False
            code = code.split("*/", 1)[1]
        code = re.sub(r'R"(\w*)\(.*?\)\1"', '""', code)
        code = re.sub(r'"(\\.|[^"\\])*"', '""', code) if 'R"' not in code else code
        if re.search(r'R"\w*\(', code):
            code = re.sub(r'R"\w*\(.*', '""', code)
            in_raw_string = True
        code = re.sub(r"'(\\.|[^'\\])'", "' '", code)
        code = re.sub(r"//.*", "", code)
        code = re.sub(r"/\*.*?\*/", "", code)
        if "/*" in code:
            in_block_comment = True
            code = code.split("/*", 1)[0]
        if code.lstrip().startswith("#"):
            continue
        for char in code:
            if char == "{":
                outer = all(kind == "outer" for kind in depth_kind)
                header = statement.strip()
                is_scope = re.match(r"(template\s*<.*>\s*)?(inline\s+)?(namespace|class|struct|enum|union|extern)\b", header)
                if outer and (is_scope or "(" not in header):
                    depth_kind.append("outer")
                elif outer:
                    depth_kind.append("function")
                    start = number
                else:
                    depth_kind.append("inner")
                statement = ""
            elif char == "}":
                if depth_kind and depth_kind.pop() == "function":
                    yield start + 1, number - start - 1, lines[start : number + 1]
                statement = ""
            elif char == ";":
                statement = ""
            else:
                statement += char
        statement += " "


def check_file(path):
    faults = []
    text = (ROOT / path).read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")
    is_long_kind = is_test(path) or path.name.endswith("-inl.h")
    limit = MAX_LONG_FILE_LINES if is_long_kind else MAX_FILE_LINES
    if len(lines) > limit:
        faults.append((0, f"has {len(lines)} lines, more than {limit}"))
    patterns = list(BANNED)
    if is_test(path):
        patterns += BANNED_IN_TESTS
    if path.suffix == ".h":
        patterns += BANNED_IN_HEADERS
        if "#pragma once" not in text and not path.name.endswith("-inl.h"):
            faults.append((1, "lacks #pragma once"))
    for number, line in enumerate(lines, 1):
        found = []
        check_include(path, line, found)
        found += [why for pattern, why in patterns if pattern.search(line)]
        if len(line) > MAX_LINE_COLUMNS and '"' not in line:
            found.append(f"is {len(line)} columns wide, more than {MAX_LINE_COLUMNS}")
        faults += [(number, fault) for fault in found]
    if not is_test(path):
        for start, length, body in function_lengths(lines):
            if length > MAX_FUNCTION_LINES and not any(FUNCTION_EXEMPT in line for line in body):
                faults.append((start, f"function has {length} lines, more than {MAX_FUNCTION_LINES}"))
    return [f"{path}:{number}: {fault}" for number, fault in faults]


def self_test():
    """The checks must be able to fail: each is tried on a line that breaks it."""
    faults = []
    check_include(Path("src/models/llama.cc"), '#include "engine/engine.h"', faults)
    check_include(Path("src/models/llama.cc"), '#include "kernels/matmul.h"', faults)
    check_include(Path("src/api/openai.cc"), '#include "runner/protocol.h"', faults)
    body = ["void f() {"] + ["  g();"] * 80 + ["}"]
    lengths = [length for _, length, _ in function_lengths(["namespace a {"] + body + ["}"])]
    return len(faults) == 3 and lengths == [80]


def main():
    if not self_test():
        print("tidy: its own self-test failed")
        return 1
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src", "tests", "bench"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )
    paths = [Path(name) for name in listing.stdout.split("\n") if name.endswith((".cc", ".h", ".cpp"))]
    faults = [fault for path in paths if (ROOT / path).exists() for fault in check_file(path)]
    for fault in faults:
        print(fault)
    print(f"tidy: {len(paths)} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
