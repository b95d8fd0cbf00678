"""Small templates, each of which shows one rule of Jinja2 or of Python."""

VARIABLES = {
    "n": 7, "f": 2.5, "s": "héllo wörld", "e": "", "t": True, "none_value": None, "big": 9223372036854775807,
    "l": [3, 1, 2], "words": ["pear", "Apple", "fig", "apple"], "d": {"b": 1, "a": {"x": [10, 20]}, "items": "own"},
    "users": [{"name": "Bo", "age": 30, "on": True}, {"name": "al", "age": 25, "on": False}, {"name": "Cy", "age": 30}],
    "tree": [{"n": "a", "kids": [{"n": "b", "kids": []}, {"n": "c", "kids": [{"n": "d", "kids": []}]}]}],
    "text": "one\n two\r\n\nthree", "emoji": "a👩‍👧b🦙", "html": "<a href='x'>\"&\"</a>",
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
7 // 2 ~ ' ' ~ -7 // 2 ~ ' ' ~ 7 % -3 ~ ' ' ~ -7 % 3
7.5 // 2 ~ ' ' ~ -7.5 // 2 ~ ' ' ~ 7.5 % -2 ~ ' ' ~ -7.5 % 2
2 ** 3 ** 2
-2 ** 2
2 ** -1
2 ** 62
2 ** 0.5
0 ** 0
(-1) ** 3
6 / 3
1 / 0
1 // 0
1 % 0
1.0 / 0
1e3
1.5e-7
1e16 ~ ' ' ~ 1e15 ~ ' ' ~ 123456789012345.6 ~ ' ' ~ 0.0001 ~ ' ' ~ 0.00001
1e22 ~ ' ' ~ 1e100 ~ ' ' ~ 0.1 + 0.2
-0.0
1_000 + 0x1F + 0o17 + 0b101
'a' + 'b' ~ 1 ~ none ~ true ~ 1.0
'a' + 1
1 + 'a'
'ab' * 3
3 * 'ab'
'ab' * -1
[1] * 2 + [2]
(1, 2) + (3,)
[1] + (2,)
true + true
not true
not 1 == 2
not not n
1 < 2 < 3
1 < 3 < 2
1 < 2 > 1 == 1
'a' < 'b'
'a' < 1
none < 1
[1, 2] < [1, 3]
[1, 'a'] < [1, 2]
(1, 2) == [1, 2]
1 == 1.0 == true
'1' == 1
none == none
{'a': 1} == {'a': 1.0}
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
1 in [1, 2] and 3 not in [1, 2]
'ell' in 'hello'
1 in 'a'
'a' in d
'b' in d
1 in 5
n or 0
0 or e or none
n and e
e and n
undefined_name or 'x'
'yes' if n > 3 else 'no'
'yes' if n > 9
('yes' if n > 9) is undefined
'a' if false else 'b' if false else 'c'
1 if true else 2 if false else 3
n is defined
zzz is defined
zzz is not defined
zzz
zzz.x
zzz + 1
zzz == zzz2
zzz ~ 'x'
d.zzz
d.zzz.x
d.zzz is defined
d['zzz'] is undefined
d.a.x[0]
d['a']['x'][1]
d['items']
d.items() | list
d.keys() | list
d.values() | list
d.get('b')
d.get('q')
d.get('q', 5)
d.a.x.0
l[0] ~ l[-1]
l[5]
l[-5]
l['a']
l[1:]
l[:1]
l[::-1]
l[::2]
l[-2:]
l[5:1]
l[::0]
s[1]
s[-1]
s[1:4]
s[::-1]
emoji[1:]
emoji | length
s.upper() ~ s.lower() ~ s.title() ~ s.capitalize()
"it's a-b c_d".title()
"it's a-b c_d" | title
'  x y '.strip() ~ '|' ~ '  x '.lstrip() ~ '|' ~ '  x '.rstrip() ~ '|'
'xxaxx'.strip('x') ~ 'xyaxy'.lstrip('yx') ~ 'axy'.rstrip('yx')
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a,b,,c'.rsplit(',', 1)
' a  b c '.split()
' a  b c '.split(none, 1)
'abc'.split('')
text.splitlines()
text.splitlines(true)
'a-b'.partition('-')
'ab'.partition('-')
'a-b-c'.rpartition('-')
'hello'.replace('l', 'L')
'hello'.replace('l', 'L', 1)
'abc'.replace('', '-')
'hello'.find('l') ~ 'hello'.rfind('l') ~ 'hello'.find('z')
s.find('w')
'hello'.index('z')
'hello'.count('l') ~ 'aaa'.count('aa') ~ 'abc'.count('')
'hello'.startswith('he') ~ 'hello'.endswith(('x', 'lo'))
'hello'.startswith(1)
','.join(['a', 'b'])
','.join([1])
'12'.isdigit() ~ 'a1'.isalnum() ~ 'ab'.isalpha() ~ ' '.isspace() ~ ''.isdigit()
'ab'.islower() ~ 'AB'.isupper() ~ '1'.isupper()
'7'.zfill(3) ~ '-7'.zfill(4) ~ 'a'.ljust(3) ~ 'a'.rjust(3, '.') ~ '|'
'abc'.removeprefix('a') ~ 'abc'.removesuffix('c')
'{} {}'.format(1, 'a')
'{0}{1}{0} {x}'.format('a', 'b', x=[1])
'{{}}{!r}'.format('a')
'{'.format(1)
'{}'.format()
'%s is %d and %.2f' % ('x', 3, 2.345)
'%5d|%-5d|%05d|%+d' % (42, 42, 42, 42)
'%x %X %o %%' % (255, 255, 8)
'%s' % 'one'
'%(a)s' % {'a': 1}
'%s %s' % ('x',)
'%s' % ('x', 'y')
'%d' % 'x'
'%e %g %g' % (12345.678, 0.00001, 1e20)
'%r' % 'x'
'%10s|%-10s|%.2s' % ('ab', 'ab', 'abcdef')
[1, 'a', none, true, 1.0, (1,), {'k': 'v'}, "it's", 'q"', 'both\'"']
['\n\t\\', 'é', '\x00', '\u200b']
{}
[]
()
(1,)
(1, 2)
1, 2
{'a': 1, 'b': [2]}
{1: 2, none: 3, true: 4}
{[1]: 2}
{'a': 1, 'a': 2}
'a' 'b'
"\x41\u00e9\n\101"
'\q'
'\N{DASH}'
'tab\tend'
none
true ~ True ~ false ~ None
n | abs ~ -3 | abs
-3 | abs
(-3) | abs
'x' | abs
2.5 | round ~ ' ' ~ 3.5 | round ~ ' ' ~ 2.675 | round(2) ~ ' ' ~ 7 | round
2.1 | round(0, 'ceil') ~ ' ' ~ 2.9 | round(method='floor')
'42' | int ~ ' ' ~ '4.7' | int ~ ' ' ~ 'x' | int ~ ' ' ~ 'x' | int(9) ~ ' ' ~ '0x1f' | int(0, 16) ~ ' ' ~ none | int
'1e3' | int ~ ' ' ~ ' 12 ' | int ~ ' ' ~ 3.9 | int ~ ' ' ~ -3.9 | int
'1.5' | float ~ ' ' ~ 'x' | float ~ ' ' ~ 3 | float ~ ' ' ~ 'inf' | float
3 | string ~ 1
'a' | upper ~ 'A' | lower ~ 'hELLO wOrld' | capitalize
'straße' | upper
'ÀÉ' | lower
'  a ' | trim ~ '|' ~ 'xax' | trim('x')
'a b  c_d é' | wordcount
text | indent
text | indent(2, true)
text | indent(width='> ', blank=true)
'x' | indent
html | escape
html | e
html | safe
[1, 2, 3] | join
[1, none, 'a'] | join('-')
users | join(', ', attribute='name')
'abc' | join('.')
5 | join
zzz | default('x')
none_value | default('x')
none_value | default('x', true)
e | d('x', boolean=true)
d.q | default(d.b)
l | first ~ l | last ~ 'abc' | first
[] | first
[] | first is undefined
l | length ~ d | length ~ s | count ~ zzz | length
5 | length
'abc' | list
d | list
l | sort
l | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
users | sort(attribute='age') | map(attribute='name') | list
users | sort(attribute='age,name') | map(attribute='name') | join
[1, 'a'] | sort
words | unique | list
words | unique(true) | list
[1, 1.0, true, 2] | unique | list
l | reverse | list
'abc' | reverse
{'b': 1, 'A': 2, 'c': 0} | dictsort
{'b': 1, 'A': 2, 'c': 0} | dictsort(true)
{'b': 1, 'A': 2, 'c': 0} | dictsort(false, 'value')
{'b': 1, 'A': 2, 'c': 0} | dictsort(reverse=true)
{'b': 1} | items | list
zzz | items | list
5 | items | list
l | min ~ l | max ~ words | min
users | max(attribute='age')
[] | max
l | sum ~ users | sum(attribute='age') ~ [0.5] | sum(start=1)
['a'] | sum
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3, 4, 5] | batch(2, 'x') | list
[1, 2, 3, 4, 5] | slice(2) | list
[1, 2, 3, 4, 5] | slice(3, 'x') | list
['1', '2'] | map('int') | list
['a', 'b'] | map('replace', 'a', 'z') | list
users | map(attribute='on', default='?') | list
users | map(attribute='zzz') | list
l | map('zzz') | list
none | map('upper') | list
none_value | selectattr('a') | list
[] | select('zzz') | list
5 | select | list
[0, 1, '', 'a', none] | select | list
[1, 2, 3] | select('odd') | list
[1, 2, 3] | reject('gt', 1) | list
users | selectattr('on') | map(attribute='name') | list
users | selectattr('age', 'equalto', 30) | map(attribute='name') | list
users | rejectattr('on', 'defined') | map(attribute='name') | list
users | selectattr('age', '<', 30) | list | length
users | groupby('age') | map('first') | list
'abc' | replace('b', 'x') ~ 'aaa' | replace('a', 'b', 2)
12 | replace(1, 2)
'%s-%s' | format('a', 1)
'%(x)s' | format(x=1)
'ab' | center(6) ~ '|'
'hello big world' | truncate(9) ~ 'hello big world' | truncate(9, true) ~ 'hello' | truncate(9)
'hello big world' | truncate(9, leeway=0, end='!')
d | tojson
users | tojson(indent=2)
[1, [], {}, [2, {'a': []}]] | tojson(indent=4)
{'b': 1, 'a': 2} | tojson(sort_keys=true)
{'b': 1, 'a': 2} | tojson(separators=(',', ':'))
'é"\\\n\t\x01/🦙</script>' | tojson
'é🦙' | tojson(ensure_ascii=true)
[1.0, 1e100, true, none, (1, 2)] | tojson
{1: 2, true: 3, none: 4, 1.5: 5} | tojson
zzz | tojson
{'x': zzz} | tojson
1 is number and 1.0 is number and true is number
1 is integer ~ true is integer ~ 1.0 is integer ~ 1.0 is float
'a' is string ~ d is mapping ~ l is sequence ~ d is sequence ~ 5 is sequence ~ d is iterable ~ 5 is iterable
zzz is iterable ~ zzz is sequence ~ zzz is callable ~ range is callable ~ d.get is callable ~ 5 is callable
none is none ~ none_value is not none ~ true is true ~ 1 is true ~ false is false ~ t is boolean
3 is odd ~ 3 is even ~ 9 is divisibleby 3 ~ 9 is divisibleby(2)
'a' is odd
'a' is lower ~ 'A' is upper ~ 'aB' is lower ~ '' is lower
1 is eq 1 ~ 1 is equalto 2 ~ 1 is ne 2 ~ 1 is lt 2 ~ 1 is ge 2 ~ 2 is in [1, 2] ~ none is sameas none
n is sameas 7
n is gt 3 and n is lt 9
not n is gt 3
n is divisibleby 7 or zzz
1 is zzz
1 | zzz
1 is string is string
range(3) | list
range(1, 7, 3) | list
range(3, 0, -1) | list
range(0) | list
range(1, 2, 0)
range('a')
range(200000) | length
namespace(a=1).a
namespace(a=1)
namespace(_a=1)
dict(a=1, b=2)
dict({'x': 1}, y=2)
dict([('a', 1)])
dict(1)
[].append(1)
[].append is defined
d.update({'x': 1})
d.pop('b')
'a'.__class__
''.__class__.__mro__
d.__class__ is defined
raise_exception('boom')
strftime_now('%Y-%m-%d %H:%M:%S %B %A %j %p %-d')
9223372036854775807
s.nope()
n.nope
n()
1 +
(1
1)
[1, 2
{'a' 1}
{'a': 1
foo bar
1 = 2
@
'abc
n[
n.
n|
"a" if
-'a'
+true
- -3
not
l | map(attribute='x', 'y')
'x'.join('abc')
[1,2,3,] ~ (1,2,) ~ {'a':1,}
{'a': {'b': {}}}
'}}' ~ '%}'
users[0]['name'] ~ users[-1].name
(l | sort)[0]
l | sort | first
l | join(',') | length > 3
'a' ~ 'b' * 2 ~ 'c'
1 ~ 2 + 3
'a' in 'abc' == true
d is mapping and 'b' in d and d.b == 1
n == 7 and not t or f
'x' * 2 + 'y'
s | upper | lower | length
dict(a=1).items() | list
'%d%%' % 50
big
-big
0.1 + 0.7
1e-5
100000000000000000.0
3.0 * 2
10 // 3.0
5 % 3.0
'abc'[1:][0]
[[1, 2], [3]][0][1]
[1, 2] in [[1, 2]]
'b' not in 'abc'
1 not in [2] and true
cycler('a', 'b').next()
joiner(', ')()
'é' > 'z'
[] == ()
'' is string
{'x': none}.x is none
l | list == l
""".strip("\n").split("\n")

STATEMENTS = [
    "{% for x in l %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}",
    "{% for x in zzz %}a{% else %}none{% endfor %}",
    "{% for x in 5 %}a{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}",
    "{% for x in l if x > 9 %}a{% else %}none{% endfor %}",
    "{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.depth }}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for a, b in [[1, 2], [3, 4]] %}{{ a + b }} {% endfor %}",
    "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{% endfor %}",
    "{% for c in s %}[{{ c }}]{% endfor %}",
    "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in 'ab' %}{{ x }}{{ y }}{% if y == 'a' and x == 1 %}{% break %}{% endif %} {% endfor %}{% endfor %}",
    "{% for i in tree recursive %}{{ i.n }}{{ loop.depth0 }}({{ loop(i.kids) }}){% endfor %}",
    "{% break %}",
    "{% set x = 1 %}{% for i in l %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.y = [1] %}{{ ns.y }}{{ ns.zzz is defined }}",
    "{% set d.x = 1 %}",
    "{% set zzz.x = 1 %}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{% if t %}{% set y = 5 %}{% endif %}{{ y }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a, b = 1, 2, 3 %}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set a %}x{{ n }}y{% endset %}{{ a | upper }}",
    "{% set a | upper | trim %} x{{ n }}y {% endset %}{{ a }}",
    "{% set true = 1 %}",
    "{% if n == 7 %}a{% elif n == 8 %}b{% else %}c{% endif %}",
    "{% if n == 6 %}a{% elif n == 7 %}b{% else %}c{% endif %}",
    "{% if zzz %}a{% else %}c{% endif %}",
    "{% if zzz.x %}a{% endif %}",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=1, a=0) }} {{ m() }}",
    "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(q=2) }}",
    "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(4) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{{ n }}{% endcall %}",
    "{% macro m() %}{{ caller(1) }}{{ caller(2) }}{% endmacro %}{% call(x) m() %}[{{ x }}]{% endcall %}",
    "{% macro m() %}x{% endmacro %}{% call m() %}in{% endcall %}",
    "{% macro f(k) %}{{ k }}{% if k > 0 %}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% macro m() %}{{ g }}{% endmacro %}{% set g = 3 %}{{ m() }}",
    "{% macro m() %}{% set g = 4 %}{{ g }}{% endmacro %}{% set g = 3 %}{{ m() }}{{ g }}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m('a') | upper ~ m('b') }}",
    "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}",
    "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}",
    "{% filter upper %}a{{ s }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}aab{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% generation %}x{{ n }}{% endgeneration %}y",
    "{% print n %}",
    "{% do l %}",
    "{% zzz %}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% if n %}a",
    "{% endif %}",
    "{% for x in l %}{% endif %}",
    "{{ n",
    "{% if n ",
    "{# open",
    "{# a comment #}x{# another #}",
    "a {#- c -#} b",
    "  {# c #}\nx",
    "{% raw %}{{ n }}{% if %}{% endraw %}!",
    "  {% raw %} a {% endraw %}  ",
    "a  {%- raw -%}  b  {%- endraw -%}  c",
    "{% raw %}x",
    "a\n{% if t %}\nb\n{% endif %}\nc\n",
    "a\n  {% if t %}  \nb\n  {% endif %}\nc\n\n",
    "a\n  {%+ if t %}\nb{% endif %}",
    "a\n{% if t +%}\nb{% endif %}",
    "a \n {%- if t -%} \n b \n {%- endif -%} \n c",
    "a  {{- n -}}  b",
    "a  {{ n }}  b\n",
    "x  {% if t %}y{% endif %}",
    "  {{ n }}\n  {% set a = 1 %}\n{{ a }}",
    "\r\n{% if t %}\r\nx\r\n{% endif %}\r\n",
    "\n\n",
    "x\n",
    "",
    "{{ '{{' }} } }} { %}",
    "{%- set x = 'a' -%}  {{ x }}",
    "{% if t %}{% if e %}x{% else %}y{% endif %}{% endif %}",
    "{% for i in range(3) %}{{ i }}\n{% endfor %}",
    "{% for i in range(3) -%}\n{{ i }}\n{%- endfor %}",
    "{% for i in range(2) %}\n  {{ i }}\n{% endfor %}end",
    "{% set j = joiner('|') %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}",
    "{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{% set z = c.reset() %}{{ c.current }}",
    "{% if false %}{{ 1 | zzz }}{% endif %}ok",
    "{% if true %}{{ 1 | zzz }}{% endif %}ok",
    "{% if false %}{{ 1 is zzz }}{% endif %}ok",
    "{{ loop }}",
    "{% for i in l %}{{ loop is defined }}{% endfor %}{{ loop is defined }}",
    "{% set ns = namespace(found=false) %}{% for u in users %}{% if u.age == 25 %}{% set ns.found = u.name %}{% endif %}{% endfor %}{{ ns.found }}",
    "{% for m in users[::-1] %}{{ m.name }}{% endfor %}",
    "{%- for u in users %}\n    {{- u.name }}\n{%- endfor %}\n",
    "{% set x = 1 %}{% set f %}{% set x = 2 %}{{ x }}{% endset %}{{ x }}{{ f }}",
    "{% for x in l %}{% set y = x %}{% endfor %}{{ y is defined }}",
    "{% if (n > 3) and (t or zzz.x) %}ok{% endif %}",
    "{{ users[0].name }}{{ users[0]['name'][0] }}{{ users[0].name.lower() }}",
    "{% macro o() %}{{ caller('x') if caller else 'none' }}{% endmacro %}{{ o() }}",
    "{% set x = [] %}{% for i in l %}{% set x = x + [i] %}{% endfor %}{{ x }}",
]

SNIPPETS = ["{{ " + e + " }}" for e in EXPRESSIONS] + STATEMENTS
