#!/usr/bin/env python3
"""Compiles the usage examples of headers. Usage: header_examples.py TABLE [HEADER...] (default: every header of git's).

An example is a run of lines in a block comment that are indented by four or more spaces behind the star and hold C: a
line that ends, without its // comment, in a semicolon or a brace. A paragraph without such a line is a table or a
formula. An example becomes a function behind the header's include; one that defines functions stands at file scope.
What the reader is trusted to fill in:
  ...          is dropped from an initialiser, an empty block where a statement stands, "for (...)" an endless loop;
  use(x)       is any use of x.
TABLE declares the free variables: "NAME: DECLARATION;" everywhere, "HEADER NAME: DECLARATION;" in one header,
"HEADER include FILE" what else the example of a header includes."""
import concurrent.futures
import os
import re
import subprocess
import sys

FLAGS = [
    "-std=c11", "-D_GNU_SOURCE", "-I.", "-DCPU_ISA=base", "-DCPU_ISA_base", "-fsyntax-only",
    "-Wall", "-Wextra", "-Werror", "-Wno-unused",
    "-Wno-unknown-pragmas", "-Wno-missing-field-initializers", "-Wno-uninitialized",
]


def read_table(path):
    """{header or "": {name: declaration}}, {header: [includes]}"""
    names, includes = {}, {}
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        include = re.fullmatch(r"(\S+\.h) include (\S+)", line)
        entry = re.fullmatch(r"(?:(\S+\.h) )?(\w+): (.*[;}])", line)
        if include:
            includes.setdefault(include[1], []).append(include[2])
        elif entry:
            names.setdefault(entry[1] or "", {})[entry[2]] = entry[3]
        else:
            sys.exit(f"{path}:{number}: expected NAME: DECLARATION; or HEADER NAME: DECLARATION; "
                     "or HEADER include FILE")
    return names, includes


def code_of(line):
    return re.sub(r"\s*(//.*|\*/\s*)$", "", line)


def find_examples(path):
    """[(line number, lines)] of the paragraphs that hold C."""
    found, part, inside = [], [], False
    for number, line in enumerate(open(path, encoding="utf-8").read().split("\n") + [""], 1):
        starts = not inside and line.lstrip().startswith("/*")
        indented = inside and re.match(r" *\*( {4,}\S| +out:)", line)
        blank = inside and re.fullmatch(r" *\*\s*", line)
        if indented or (blank and part):
            part.append((number, re.sub(r"^ *\*", "", line)))
        elif part:
            found.append(part)
            part = []
        if starts:
            inside = True
        if inside and "*/" in line:
            inside = False
    return [p for block in found for p in split_code(block)]


def split_code(block):
    """Paragraphs with C; those that follow each other are one example."""
    parts, last = [[]], None
    for number, line in block:
        if line.strip():
            parts[-1].append((number, line))
        elif parts[-1]:
            parts.append([])
    examples, joined = [], False
    for part in filter(None, parts):
        # Only what a // comment may follow ends in these.
        is_json = part[0][1].lstrip().startswith('{"')
        is_code = not is_json and any(re.search(r"[;{}]$", code_of(line)) for _, line in part)
        if is_code and joined:
            examples[-1] += part
        elif is_code:
            examples.append(part)
        joined = is_code
    return examples


def filled(code):
    code = re.sub(r",\s*\.\.\.\s*}", "}", code)
    code = re.sub(r"for \(\.\.\.\)", "for (;;)", code)
    return re.sub(r"((?:^|[;{)])\s*)\.\.\.(?=\s|;|$)", r"\1{}", code)


def program(header, examples, names, includes):
    text = [f'#include "{header}"']
    others = ["stdio.h", "core/base/status.h"] + includes.get(header, [])
    text += [f'#include "{i}"' if "/" in i else f"#include <{i}>" for i in others]
    text.append("#define use(...) ((void)(__VA_ARGS__))")
    known = {**names.get("", {}), **names.get(header, {})}
    for index, part in enumerate(examples):
        code = [(n, filled(code_of(line))) for n, line in part]
        at_file_scope = any(re.match(r"\s*({$|static (void|status)\b)", line) for _, line in code)
        without_strings = re.sub(r'"(\\.|[^"\\])*"', '""', "\n".join(c for _, c in code))
        words = set(re.findall(r"\b[A-Za-z_]\w*\b", without_strings))
        declared = [known[w] for w in sorted(words & known.keys())]
        text.append(f'#line 1 "declarations of {header}"')
        if at_file_scope:
            text += [f"static {d}" for d in declared]
        else:
            returns = "int" if any(re.search(r"return \d", c) for _, c in code) else "status"
            text += [f"{returns} example_{index}(void);", f"{returns} example_{index}(void)", "{"] + declared
            text += [f"{returns} result = 0;", "{"]
        for number, line in code:
            text += [f'#line {number} "{header}"', line]
        if not at_file_scope:
            labelled = any(re.match(r"\s*out:", c) for _, c in code)
            text += ["}", "return result;", "}"] if labelled else ["}", "goto out;", "out:", "return result;", "}"]
    return "\n".join(text) + "\n"


def compile_header(header, names, includes):
    examples = find_examples(header)
    taken = {n for part in examples for n, _ in part}
    missed = "".join(f"{header}:{n}: an example that is not indented by four spaces\n"
                     for n, line in enumerate(open(header, encoding="utf-8"), 1)
                     if n not in taken and re.match(r" *\*.*\b(TRY|TRY_OUT)\(.*\);", line))
    if not examples:
        return 0, missed
    compiler = [os.environ.get("CC", "gcc"), *FLAGS, "-x", "c", "-"]
    done = subprocess.run(compiler, input=program(header, examples, names, includes), capture_output=True,
                          text=True, check=False)
    return len(examples), missed + (done.stderr if done.returncode else "")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    names, includes = read_table(sys.argv[1])
    listing = ["git", "ls-files", "-co", "--exclude-standard", "*.h"]
    headers = sys.argv[2:] or subprocess.check_output(listing, text=True).split()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda h: compile_header(h, names, includes), headers))
    wrong = [h for h, (_, said) in zip(headers, results) if said]
    for _, said in results:
        sys.stdout.write(said)
    count, having = sum(n for n, _ in results), sum(n > 0 for n, _ in results)
    print(f"{count} examples in {having} headers; wrong in {len(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
