"""Writes templates/expected.json and templates/snippets.json: what transformers and jinja2 render.

Usage: python make_templates.py [a folder with more *.jinja, written to more.json in the working directory]
"""
import datetime
import json
import pathlib
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

from template_snippets import SNIPPETS, VARIABLES

HERE = pathlib.Path(__file__).parent / "templates"
NOW = 1_700_000_000  # 2023-11-14 22:13:20 UTC

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.\nOne line.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name, e.g. \"Zürich\" <CH> & 'more'"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                "exact": {"type": ["boolean", "null"], "default": True},
            },
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time.", "parameters": {"type": "object", "properties": {}}}}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, call_id="abcdefghi"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


USER = say("user", "Hello, who are you?")
TURNS = [say("user", " One? "), say("assistant", " Yes. "), say("user", "Two?"), say("assistant", "Also."), say("user", "Three?")]
SYSTEM = say("system", "You are an elf who despises authority.")
TOOL_TURNS = [
    say("user", "How is Zürich?"),
    say("assistant", "", tool_calls=[call("get_weather", {"city": "Zürich", "days": [1, 2], "exact": None, "wind": 1.5})]),
    say("tool", "{\"sky\": \"grey\"}", name="get_weather", tool_call_id="abcdefghi"),
    say("assistant", "Grey."),
    say("user", "And Bern?"),
]
CONVERSATIONS = {
    "user": {"messages": [USER]},
    "system": {"messages": [SYSTEM, USER]},
    "turns": {"messages": TURNS},
    "system_turns": {"messages": [SYSTEM, *TURNS]},
    "ends_with_assistant": {"messages": [SYSTEM, *TURNS[:4]]},
    "empty": {"messages": []},
    "empty_content": {"messages": [say("system", ""), say("user", ""), say("assistant", ""), say("user", " \n ")]},
    "unicode": {"messages": [say("system", "Ñandú 🦙 — “quotes”"), say("user", "日本語 👩‍👩‍👧 \u00a0x\u2028y \\ \" ' <b>&</b> {{ x }} {% y %}")]},
    "long_lines": {"messages": [say("user", "a\nb\r\n\tc\n\n"), say("assistant", "<think>\nhm\n</think>\n\nanswer\n"), say("user", "more")]},
    "thinking": {"messages": [USER, say("assistant", "Me.", reasoning_content="Who am I?"), say("user", "Sure?")], "enable_thinking": True},
    "no_thinking": {"messages": [SYSTEM, USER], "enable_thinking": False, "reasoning_effort": "low"},
    "parts": {"messages": [say("user", [{"type": "text", "text": "What "}, {"type": "text", "text": "is it? "}]), say("assistant", [{"type": "text", "text": "It."}]), USER]},
    "image": {"messages": [say("user", [{"type": "image"}, {"type": "text", "text": "What is it?"}])]},
    "wrong_order": {"messages": [USER, USER, say("assistant", "x"), say("assistant", "y")]},
    "odd_role": {"messages": [USER, say("narrator", "Night falls.")]},
    "null_content": {"messages": [USER, say("assistant", None), USER]},
    "tools": {"messages": [SYSTEM, USER], "tools": [WEATHER, CLOCK]},
    "tools_no_system": {"messages": [USER], "tools": [WEATHER]},
    "tool_call": {"messages": [SYSTEM, *TOOL_TURNS[:2]], "tools": [WEATHER]},
    "tool_response": {"messages": TOOL_TURNS[:3], "tools": [WEATHER, CLOCK]},
    "tool_turns": {"messages": [SYSTEM, *TOOL_TURNS], "tools": [WEATHER]},
    "tool_text_arguments": {"messages": [USER, say("assistant", "Let me see.", tool_calls=[call("clock", "{}"), call("get_weather", "{\"city\": \"Bern\"}", "ihgfedcba")]),
                                         say("tool", "noon", tool_call_id="abcdefghi"), say("tool", "rain", tool_call_id="ihgfedcba")], "tools": [CLOCK]},
    "documents": {"messages": [USER], "documents": [{"title": "Moon", "text": "It is grey.", "doc_id": 1}]},
}


def variables_of(name, generation):
    out = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": generation, "tools": None, "documents": None}
    return {**out, **CONVERSATIONS[name]}


def render(source, variables):
    """The text, or None where jinja2 raises."""
    try:
        template = _compile_jinja_template(source)
        template.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(f)
        return template.render(**variables)
    except Exception:
        return None


def cases(paths):
    out = []
    for path in paths:
        source = path.read_text()
        for name in CONVERSATIONS:
            for generation in (False, True):
                text = render(source, variables_of(name, generation))
                out.append({"template": path.name, "conversation": name, "generation": generation, "text": text})
    return out


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n")


def main():
    common = {"now": NOW, "conversations": {name: variables_of(name, False) for name in CONVERSATIONS}}
    write(HERE / "expected.json", {**common, "cases": cases(sorted(HERE.glob("*.jinja")))})
    rows = [{"template": s, "text": render(s, VARIABLES)} for s in SNIPPETS]
    write(HERE / "snippets.json", {"now": NOW, "variables": VARIABLES, "cases": rows})
    if len(sys.argv) > 1:
        more = cases(sorted(pathlib.Path(sys.argv[1]).glob("*.jinja")))
        write(pathlib.Path("more.json"), {**common, "cases": more})


if __name__ == "__main__":
    main()
