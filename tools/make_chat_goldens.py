#!/usr/bin/env python3
"""Writes src/text/testdata/chat_goldens.json: chat templates, chats, and what jinja2 makes of them.

The environment is the one of transformers' apply_chat_template. Three sources of templates:
  families   templates built as those of the model families are, same constructs in our own words;
             SmolLM2's is the one in its file
  mutants    the same with tags' white space control, constants and the order of blocks altered
  random     templates drawn from a small grammar, those that fail in jinja2 too

Usage: make_chat_goldens.py [--check]      (needs jinja2 >= 3.1.6)
"""

import argparse
import datetime
import json
import pathlib
import random
import re
import sys
import warnings

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

OUT = pathlib.Path(__file__).resolve().parent.parent / "src/text/testdata/chat_goldens.json"
NOW = [2026, 11, 4]


class Generation(jinja2.ext.Extension):
    """{% generation %}, as transformers defines it: what is inside is simply written."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_call"), [], [], body).set_lineno(line)

    def _call(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime(*NOW).strftime(f)
    return env


FAMILIES = {
    "smollm2": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}""",
    "chatml": """{%- for message in messages -%}
    {{ '<|im_start|>' + message.role + '\\n' + message.content | trim + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<|im_start|>assistant\\n' }}
{%- endif -%}
""",
    "chatml_default": """{% if not add_generation_prompt is defined %}
{% set add_generation_prompt = false %}
{% endif %}
{% for message in messages %}
    {%- if loop.index0 == 0 and message['role'] != "system" -%}
        {{ "<|im_start|>system\\nAnswer well.<|im_end|>\\n" }}
    {%- endif -%}
    {{ '<|im_start|>' ~ message['role'] ~ '\\n' ~ message['content'] }}
    {%- if not loop.last or add_generation_prompt %}{{ '<|im_end|>' }}{% endif %}

{% endfor %}
{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}
    {{- '<|im_start|>assistant\\n' -}}
{% endif %}
""",
    "llama3": """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>

'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>

' }}{% else %}{{ eos_token }}{% endif %}""",
    "llama3_dated": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "1 Jan 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}

{#- The system message comes first, with the date. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- if tools is not none %}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "mistral": """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles have to take turns: user, assistant, user ...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant are known here.') }}{% endif %}{% endfor %}""",
    "mistral_system": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{#- Roles take turns, tools aside #}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages | rejectattr("role", "in", ["tool", "tool_results"]) %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("Turn " ~ ns.index ~ " belongs to somebody else.") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS]" + tools | tojson }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"].strip() + eos_token }}
    {%- else %}
        {{- raise_exception("Unknown role: " + message.role) }}
    {%- endif %}
{%- endfor %}
""",
    "qwen2": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "<|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou answer questions.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "qwen_thinking": """{%- set ns = namespace(searching=true, last_question=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last_question = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" %}
        {%- set thought = '' %}
        {%- if message.thought is string %}
            {%- set thought = message.thought %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {%- if loop.index0 > ns.last_question and (loop.last or thought) %}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- content.lstrip('\\n') + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
""",
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{% generation %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endgeneration %}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
""",
    "macros": """{%- macro header(role, mark='#') -%}
    {{ mark * 2 }} {{ role | upper }}:
{%- endmacro -%}
{%- set names = {"user": "Human", "assistant": "Machine"} -%}
{%- for message in messages if message.role in names or message.role == 'system' -%}
    {% if message.role == 'system' %}{{ header('rules', mark='=') }}
{{ message.content | default('none', true) }}
    {%- else %}{{ header(names[message.role]) }} {{ message['content'] | replace('a', 'A') }}
    {%- endif %}
    {{- '' if loop.last else '\\n' -}}
{%- else -%}
    (nothing was said)
{%- endfor -%}
{%- set closing %}
 -- {{ messages | map(attribute='role') | join(', ') }}
{% endset -%}
{{ closing if messages else '' }}{% if add_generation_prompt %}{{ header('machine') }}{% endif %}
""",
}

CHATS = [
    [("user", "Hello")],
    [("system", "Be brief."), ("user", " Hi there \n")],
    [("user", "a"), ("assistant", "b"), ("user", "c")],
    [("system", "  s\n"), ("user", "\u00e9 \u00df \u6f22\u5b57 \U0001f986"),
     ("assistant", "<think>\nhm\n</think>\n\nyes"), ("user", "\"q\" \\ b")],
    [],
    [("assistant", "x")],
    [("user", "a"), ("user", "<tool>b</tool>")],
    [("tool", "42"), ("tool", "43"), ("user", "")],
]

TAG = re.compile(r"(\{[%{#])([-+]?)(.*?)([-+]?)([%}#]\})", re.S)


def mutate(rng, source):
    """The template with its white space control, some constants and some operators altered."""

    def tag(m):
        opening, left, body, right, closing = m.groups()
        if rng.random() < 0.25:
            left = rng.choice(["", "-"] if opening == "{{" else ["", "-", "+"])
        if rng.random() < 0.25:
            right = rng.choice(["", "-"] if opening != "{%" else ["", "-", "+"])
        if rng.random() < 0.15:
            body = body.replace("'user'", "'assistant'").replace('"user"', '"system"')
        if rng.random() < 0.15:
            body = body.replace("==", "!=") if rng.random() < 0.5 else body.replace(" and ", " or ")
        if rng.random() < 0.15:
            body = re.sub(r"(['\"])(<\|?\w+)", lambda s: s[1] + rng.choice(["<!", "\\t[", ""]) + s[2], body)
        if rng.random() < 0.1:
            body = body.replace("loop.first", "loop.last").replace("[0]", "[-1]").replace("[1:]", "[:-1]")
        if not body.startswith((" ", "\n")):
            body = " " + body
        if not body.endswith((" ", "\n")):
            body += " "
        before = rng.choice(["\n  ", " ", "\t", "text ", "{# note #}"]) if rng.random() < 0.12 else ""
        return before + opening + left + body + right + closing

    out = TAG.sub(tag, source)
    branches = re.split(r"(\{%-? ?elif [^%]*%\})", out)
    if len(branches) >= 5 and rng.random() < 0.3:  # the order of two conditions
        branches[1], branches[3] = branches[3], branches[1]
        out = "".join(branches)
    return out


STRINGS = ["'a'", "''", "'user'", '"x y"', "'Hello'", "'\u00e9\u6f22'", "'a,b,c'", "' pad '", "'\\n'",
           "'it\\'s'", "'role'", "'\u00df'", "'\\u00e9\\t'"]
NAMES = ["messages", "bos_token", "add_generation_prompt", "tools", "m", "x", "y", "ns.v", "undef",
         "messages[0]", "messages[-1]", "m.role", "m['content']"]
FILTERS = ["trim", "length", "upper", "lower", "capitalize", "first", "last", "list", "string",
           "default('d')", "default('d', true)", "join(',')", "replace('a', 'b')", "tojson",
           "replace('l', 'L', 1)", "tojson(indent=2)", "reverse|list", "items|list", "trim('a')",
           "selectattr('role', 'equalto', 'user')|list", "map(attribute='role')|list", "count",
           "map('upper')|list", "select('string')|list", "rejectattr('content')|list|length",
           "tojson(sort_keys=true, separators=(',', ':'))", "join(', ', attribute='role')"]
TESTS = ["defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number",
         "integer", "float", "boolean", "true", "false", "odd", "even", "divisibleby 2", "eq 1",
         "equalto 'a'", "in [1, 2]", "gt 0", "lt(2)", "callable"]
METHODS = ["strip()", "lstrip()", "rstrip('\\n')", "split()", "split(',')", "split('a', 1)",
           "startswith('a')", "endswith(('a', 'o'))", "upper()", "lower()", "items()|list",
           "keys()|list", "values()|list", "get('role')", "get('z', 'q')", "replace('a', '')",
           "find('b')", "count('a')", "capitalize()", "removeprefix('a')", "split(' ')[-1]"]
LOOP = ["index", "index0", "first", "last", "length", "revindex", "revindex0", "previtem", "nextitem"]


class Grammar:
    def __init__(self, rng):
        self.rng = rng

    def operand(self, depth, loop):
        if self.rng.random() < 0.5:
            return self.rng.choice(NAMES + STRINGS)
        return "(" + self.expression(depth - 1, loop) + ")"

    def leaf(self, loop):
        numbers = ["0", "1", "2", "7", "-1", "1.5", "0.1", "1e20", "100000.0"]
        pick = self.rng.choice([STRINGS, STRINGS, numbers, ["true", "false", "none"], NAMES, NAMES, LOOP])
        if pick is LOOP:
            return "loop." + self.rng.choice(LOOP) if loop else "undef"
        return self.rng.choice(pick)

    def expression(self, depth, loop=False):
        rng = self.rng
        if depth <= 0 or rng.random() < 0.25:
            return self.leaf(loop)
        e = lambda: self.expression(depth - 1, loop)
        p = lambda: self.operand(depth, loop)
        return rng.choice([
            lambda: f"{e()} {rng.choice(['+', '-', '*', '/', '//', '%', '~', '~'])} {e()}",
            lambda: f"{e()} {rng.choice(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {e()}",
            lambda: f"{e()} {rng.choice(['and', 'or'])} {e()}",
            lambda: f"not {e()}",
            lambda: f"({e()} if {e()} else {e()})",
            lambda: f"{p()}|{rng.choice(FILTERS)}",
            lambda: f"{p()}|{rng.choice(FILTERS)}",
            lambda: f"{p()} is {rng.choice(['', 'not '])}{rng.choice(TESTS)}",
            lambda: f"{p()}.{rng.choice(METHODS)}",
            lambda: f"{p()}[{e()}]",
            lambda: f"{rng.choice(STRINGS + ['messages'])}[{rng.choice(['', '1', '-1'])}:{rng.choice(['', '2', '-1'])}"
                    f"{rng.choice(['', ':-1', ':2'])}]",
            lambda: "[" + ", ".join(e() for _ in range(rng.randrange(3))) + "]",
            lambda: "{" + ", ".join(rng.choice(STRINGS) + ": " + e() for _ in range(rng.randrange(3))) + "}",
            lambda: "(" + ", ".join(e() for _ in range(rng.randrange(1, 3))) + ",)",
        ])()

    def tag(self, opening, body, closing):
        left = self.rng.choice(["", "", "-", "+"] if opening == "{%" else ["", "", "-"])
        right = self.rng.choice(["", "", "-", "+"] if opening == "{%" else ["", "", "-"])
        return f"{opening}{left} {body} {right}{closing}"

    def text(self):
        return self.rng.choice(["", "\n", " ", "  \n", "text", " x \n  ", "\n\n", "}", "{", "%"])

    def body(self, depth, loop=False):
        rng, out = self.rng, ""
        for _ in range(rng.randrange(1, 4)):
            out += self.text()
            kind = rng.randrange(10) if depth > 0 else 0
            if kind < 4:
                out += self.tag("{{", self.expression(2, loop), "}}")
            elif kind < 6:
                out += self.tag("{%", "if " + self.expression(2, loop), "%}") + self.body(depth - 1, loop)
                if rng.random() < 0.5:
                    out += self.tag("{%", "else", "%}") + self.body(depth - 1, loop)
                out += self.tag("{%", "endif", "%}")
            elif kind < 8:
                items = rng.choice(["messages", "messages[1:]", "range(3)", "'abc'", "[1, 2, 3]"])
                only = rng.choice(["", "", " if " + self.expression(1)])
                jump = self.tag("{%", rng.choice(["break", "continue"]), "%}") if rng.random() < 0.2 else ""
                out += self.tag("{%", f"for m in {items}{only}", "%}") + self.body(depth - 1, True) + jump
                if rng.random() < 0.3:
                    out += self.tag("{%", "else", "%}") + self.body(depth - 1, loop)
                out += self.tag("{%", "endfor", "%}")
            elif kind == 8:
                out += self.tag("{%", f"set {rng.choice(['x', 'y', 'ns.v'])} = " + self.expression(2, loop), "%}")
            else:
                out += self.tag("{%", "set y", "%}") + self.body(depth - 1, loop) + self.tag("{%", "endset", "%}")
        return out + self.text()


def outcome(env, template, chat, generation):
    messages = [{"role": role, "content": content} for role, content in CHATS[chat]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {"output": env.from_string(template).render(
                messages=messages, tools=None, documents=None, bos_token="<s>", eos_token="</s>",
                add_generation_prompt=generation)}
    except Exception:  # noqa: BLE001  any refusal of jinja2 is a refusal of ours
        return {"fails": True}


def goldens():
    rng = random.Random(4)
    env = environment()
    templates, cases = [], []

    def add(template, chats, keep=lambda r: True):
        results = [(c, g, outcome(env, template, c, g)) for c, g in chats]
        if not all(keep(r) for _, _, r in results):
            return False
        templates.append(template)
        for chat, generation, result in results:
            cases.append({"template": len(templates) - 1, "chat": chat, "generation": generation} | result)
        return True

    for source in FAMILIES.values():
        add(source, [(c, g) for c in range(len(CHATS)) for g in (True, False)])
    for source in FAMILIES.values():
        for _ in range(10):
            add(mutate(rng, source), [(rng.randrange(len(CHATS)), rng.random() < 0.5) for _ in range(2)])
    grammar, wanted = Grammar(rng), {False: 160, True: 40}
    while any(wanted.values()):
        template = "{% set ns = namespace(v=1) %}" + grammar.body(rng.randrange(1, 3))
        # Not in the subset: "%" as a format, a test's argument that is a keyword, constant folding of
        # slices of numbers; the grammar seldom makes them and jinja2 then decides nothing.
        if re.search(r"% |is (not )?\w+ (if|in|not)\b", template.replace("{% ", "").replace(" %}", "")):
            continue
        fails = "fails" in outcome(env, template, 2, True)
        if wanted[fails] > 0 and len(template) < 600:
            wanted[fails] -= add(template, [(2, True)])
    return {"jinja2": jinja2.__version__, "now": NOW,
            "chats": [[list(m) for m in chat] for chat in CHATS], "templates": templates, "cases": cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the file is as made here")
    text = json.dumps(goldens(), indent=0, ensure_ascii=True) + "\n"
    if parser.parse_args().check:
        sys.exit(0 if OUT.read_text() == text else f"{OUT} differs")
    OUT.write_text(text)
    print(f"{OUT}: {len(text)} bytes")


if __name__ == "__main__":
    main()
