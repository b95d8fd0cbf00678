#!/usr/bin/env python3
"""Makes the first seeds of corpus/grammar: a byte (even: GBNF, odd: a regular expression), then the text."""

import pathlib

FOLDER = pathlib.Path(__file__).parent / "corpus" / "grammar"

GBNF = [
    b'root ::= "a" | [b-d]{2,3} x\nx ::= ("e" . )* # end\n',
    b'root ::= v\nv ::= "[" (v ("," v)*)? "]" | "\\"" [^"\\\\\\x00-\\x1F]* "\\""\n',
    b'root ::= root "a" | "b"\n',
    b'root ::= "a" root\n',
    b"root ::= " + b"(" * 3000,
    b"root ::= " + b"(" * 60 + b'"a"' + b")*" * 60,
    b'root ::= ("a"? "b"?){0,2000000000}\n',
    b'root ::= "\\u00e9\\U0001F600" [^\\]a-z]+ .{5}\n',
    b'root ::= (("a" | "aa"){0,3000}){0,3000}\n',
    b'root ::= "a"' + b"*" * 3000,
]
REGEX = [
    rb"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[a-z]{2,4}",
    rb"^(\d{3}-\d{4}|\w+\s?)$",
    rb"(a+)+$",
    rb"(a|aa|aaa){0,100}b*?",
    rb"\p{Lu}\P{L}[\u00e4-\u{1F600}]\x41",
    rb"(?:x|(?<n>y))[^\d\]]{2,}",
    rb"(?=a)",
    rb"a{2000000001}",
    rb"(((((a*)*)*)*)*)*",
    rb"(" * 3000,
    rb"(a|b)*a(a|b){12}",
]


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for i, text in enumerate(GBNF):
        (FOLDER / f"gbnf_{i}").write_bytes(bytes([2 * i]) + text)
    for i, text in enumerate(REGEX):
        (FOLDER / f"regex_{i}").write_bytes(bytes([2 * i + 1]) + text)


if __name__ == "__main__":
    main()
