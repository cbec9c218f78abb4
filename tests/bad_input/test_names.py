"""A name that nothing declares: the finding points at it and proposes one that is meant."""

import pytest

from tests.bad_input.conftest import HEAD

E = "experiment e {\n  measure a = ld(clean)\n"
# a text, its code, what is not known, what the help proposes
UNKNOWN = {
    "model": (HEAD + "experiment e { models @@mm measure a = ld(clean) }", "GB200", "model `mm`", "`m`"),
    "model of a run": (
        HEAD + E + "run p = forward(clean, model: @@mm) measure b = ld(p) }",
        "GB200",
        "`mm`",
        "`m`",
    ),
    "model of a value": (HEAD + E + "measure b = mean(a)[model: @@mm] }", "GB200", "model `mm`", "`m`"),
    "data": (HEAD + "experiment e { data @@dd measure a = ld(clean) }", "GB200", "data `dd`", "`d`"),
    "prompt": (
        HEAD + E + "run p = forward(@@cleam) measure b = ld(p) }",
        "GB200",
        "prompt `cleam`",
        "`clean`",
    ),
    "answer": (HEAD + E + "measure b = logit(clean, @@targt) }", "GB200", "answer `targt`", "`target`"),
    "run": (
        HEAD + E + "run patched = forward(clean)  measure b = ld(@@pached) }",
        "GB200",
        "`pached`",
        "`patched`",
    ),
    "measure": (HEAD + E + "}\nexperiment f { measure b = e.@@aa }", "GB200", "measure `aa`", "`a`"),
    "site": (
        HEAD + E + "measure b = norm(clean.@@resid_past[0, last]) }",
        "GB219",
        "`resid_past`",
        "`resid_post`",
    ),
    "written site": (
        HEAD + E + "run p = forward(clean) { @@attn.zz[0] := 0 } measure b = ld(p) }",
        "GB219",
        "`attn.zz`",
        "`attn.z`",
    ),
    "metric": (HEAD + E + "measure b = @@logprop(clean, target) }", "GB208", "`logprop`", "`logprob`"),
    "function": (HEAD + E + "measure b = @@means(ld(clean)) }", "GB208", "`means`", "`mean`"),
    "axis of a binder": (HEAD + E + "measure b[l: @@layr] = ld(clean) }", "GB200", "axis `layr`", "`layer`"),
    "axis of a site": (
        HEAD + E + "measure b = norm(clean.resid_post[@@layr: 0, pos: last]) }",
        "GB213",
        "`layr`",
        "`layer`",
    ),
    "axis of a mean": (
        HEAD + E + "measure b = mean(norm(clean.resid_post), over: @@layr) }",
        "GB216",
        "`layr`",
        "`layer`",
    ),
    "position": (HEAD + E + "measure b = norm(clean.resid_post[0, @@s22]) }", "GB200", "`s22`", "`s2`"),
    "feature": (HEAD + E + "measure b = mean(ld(clean), within: @@erly) }", "GB223", "`erly`", "`early`"),
    "family": ('gbx 1\nmodel m = @@tiny("lama")\n', "GB321", "`lama`", "`llama`"),
    "bundled model": (
        'gbx 1\nmodel m = @@bundled("smollm2-135")\n',
        "GB310",
        "`smollm2-135`",
        "`smollm2-135m`",
    ),
    "source of a model": ('gbx 1\nmodel m = @@bundle("smollm2-135m")\n', "GB206", "`bundle`", "`bundled`"),
    "option of a model": ('gbx 1\nmodel m = tiny("llama", @@layer: 2)\n', "GB206", "`layer:`", "`layers`"),
    "option of a metric": (HEAD + E + "measure b = @@top(clean, n: 3) }", "GB207", "`top`", "k: 5"),
    "option of a function": (
        HEAD + E + "measure b = @@mean(ld(clean), axis: item) }",
        "GB207",
        "`mean`",
        "over",
    ),
    "option of a run": (
        HEAD + E + "run p = @@forward(clean, modle: m) measure b = ld(p) }",
        "GB207",
        "`forward`",
        "model:",
    ),
    "option word": (
        HEAD + E + "measure b = @@head_score(clean, kind: inductive)[0, 0] }",
        "GB207",
        "`head_score`",
        "induction",
    ),
    "word list": (HEAD.replace("place from [", "q from @@name  place from ["), "GB234", "`name`", "`names`"),
    "variable": (HEAD.replace('" {io}"', '"@@ {iio}"').replace('"@@ {', '" {@@'), "GB230", "`iio`", "`io`"),
    "figure": (HEAD + E + "}\nreport r { @@heetmap e.a }", "GB220", "`heetmap`", "`heatmap`"),
    "option of a figure": (
        HEAD + E + "}\nreport r { bar e.a { @@colour: model } }",
        "GB228",
        "`colour`",
        "`color`",
    ),
    "experiment": (HEAD + E + "}\nreport r { @@bar ee.a }", "GB200", "`ee`", "`e`"),
    "statement": (HEAD + E + "@@mesure b = ld(clean) }", "GB116", "`mesure`", "`measure`"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_a_name_that_nothing_declares(what, folder):
    text, code, name, proposed = UNKNOWN[what]
    found = folder.refused(text)
    assert found.code == code and name in found.headline
    assert proposed in found.help + found.label and found.help
