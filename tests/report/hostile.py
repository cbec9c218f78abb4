"""Two hundred texts that a stranger could have put where a report shows them: script, markup, hidden characters."""

from __future__ import annotations

SCRIPTS = (
    "<script>window.ran=1</script>", "<SCRIPT/x>window.ran=1</SCRIPT>", "<img src=x onerror=window.ran=1>",
    "<svg onload=window.ran=1>", "<svg><script>window.ran=1</script></svg>", "<body onload=window.ran=1>",
    "<iframe src='javascript:parent.ran=1'></iframe>", "<iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
    "<a href='javascript:window.ran=1' autofocus onfocus=window.ran=1>x</a>", "<details open ontoggle=window.ran=1>",
    "<input autofocus onfocus=window.ran=1>", "<video><source onerror=window.ran=1></video>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=window.ran=1>",
    "<meta http-equiv=refresh content='0;url=javascript:window.ran=1'>", "<base href='https://evil.example/'>",
    "<link rel=stylesheet href='https://evil.example/x.css'>", "<style>@import 'https://evil.example/x.css';</style>",
    "<object data='javascript:window.ran=1'></object>", "<embed src='https://evil.example/x.swf'>",
    "[x](javascript:window.ran=1)",
)  # fmt: skip
BREAKS = (
    "{}",
    "\"'>{}",
    "</script>{}",
    "</title></style></textarea>{}",
    "-->{}<!--",
    "</code></pre>{}",
    "]]>{}",
    "{{{{ {} }}}}",
)
HIDDEN = tuple(chr(c) for c in (
    0x00, 0x07, 0x08, 0x0B, 0x1B, 0x7F, 0x85, 0x9B, 0xAD, 0x200B, 0x200D, 0x200E, 0x200F, 0x202A, 0x202B, 0x202D,
    0x202E, 0x2028, 0x2029, 0x2066, 0x2067, 0x2069, 0xFEFF, 0xFFF9, 0xE0041,
))  # fmt: skip
TERMINAL = (
    "\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\x1b]8;;https://evil.example\x1b\\\\x", "\x9b31m", "\r\nHTTP/1.1 200",
    "a\tb\x0bc", "\u202egnp.exe\u202c", "\ufeff<script>window.ran=1</script>",
    "\\u003cscript\\u003ewindow.ran=1", "&lt;script&gt;window.ran=1&lt;/script&gt;", "${window.ran=1}",
    "';window.ran=1;//", "\\\";window.ran=1;//", "{% include 'page.html' %}", "%3Cscript%3Ewindow.ran=1%3C/script%3E",
)  # fmt: skip
TEXTS = (*(b.format(s) for s in SCRIPTS for b in BREAKS), *(f"a{c}<b>{c}" for c in HIDDEN), *TERMINAL)
