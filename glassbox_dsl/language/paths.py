"""`path A -> B := run` as runs that the language has already (path patching: Wang et al. 2022, arXiv 2211.00593).

The receiver reads the stream with the sender's output exchanged, all else held. That stream is the stream of a run of
its own, in which the output of every head and MLP is set to what it is without the path, the sender's to the other
run's:

    run own  = forward(p) { EDITS }
    run sent = forward(p) { EDITS  attn.z := own  mlp.out := own  A := run }
    run r    = forward(p) { EDITS  B := sent }

On the way through a hop `A -> M -> B` the part that reads at M is run on what it was sent, and nothing that it changes
gets any further: the stream is set back at the beginning of every layer. What it puts out is exchanged in turn:

    run passed = forward(p) { EDITS  resid_pre := own  M := sent }
    run sent2  = forward(p) { EDITS  attn.z := passed  mlp.out := own }      (M the MLP: the other way around)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from glassbox_dsl.language import path_errors as errors
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.keys import COPIES
from glassbox_dsl.vocabulary.sites import sites

ATTENTION = ("attn.z", "attn.result", "attn.out_raw", "attn.out")
MLP = ("mlp.out", "mlp.out_raw", "mlp.post")
SENDERS = ("embed", *ATTENTION, *MLP)
"""What is summed into the stream."""
HOPS = (*COPIES, "mlp.in")
"""What reads the stream and puts something into it again."""


class PartRun(nodes.Run):
    """A run that is made for another one, which stands in the file."""

    part_of: str


@dataclass
class _Lowering:
    """The runs that the paths of one run come to."""

    run: nodes.Run
    parts: list[nodes.Run] = field(default_factory=list)

    def lowered(self) -> nodes.Run:
        """The run with its paths as writes."""
        edits: list[nodes.Edit] = []
        for edit in self.run.edits:
            edits.append(self._path(edit, edits) if isinstance(edit, nodes.PathEdit) else edit)
        return self.run.changed(edits=tuple(edits))

    def _path(self, path: nodes.PathEdit, earlier: Sequence[nodes.Edit]) -> nodes.Write:
        """The write at the receiver; what the earlier edits do is done in every part, too."""
        _check(path)
        sender, *hops, receiver = path.targets
        number = sum(isinstance(edit, nodes.PathEdit) for edit in self.run.edits[: len(earlier)]) + 1
        own = self._part(f"own {number}", path, earlier, [], only_used=True)
        mlp = "mlp.post" if _site(sender) in ("mlp.post", "mlp.out_raw") else "mlp.out"
        held = [_write(path.span, "attn.z", own), _write(path.span, mlp, own), _set(sender, path.value)]
        sent = self._part(f"sent {number}", path, earlier, held)
        for hop in hops:
            back = _write(path.span, "resid_pre", own)
            passed = self._part(f"passed {number}", path, earlier, [back, _set(hop, sent)])
            through_mlp = _site(hop) == "mlp.in"
            held = [
                _write(path.span, "attn.z", own if through_mlp else passed),
                _write(path.span, "mlp.out", passed if through_mlp else own),
            ]
            sent = self._part(f"sent {number}", path, earlier, held)
        if any(_site(e.target) == _site(receiver) for e in self.run.edits if isinstance(e, nodes.Write)) or (
            sum(isinstance(e, nodes.PathEdit) for e in self.run.edits) > 1
        ):
            change = nodes.Binary(span=path.span, op="-", left=sent, right=own)
            return nodes.Write(span=path.span, target=receiver, op="+=", value=change, during=None)
        return nodes.Write(span=path.span, target=receiver, op=":=", value=sent, during=None)

    def _part(
        self,
        role: str,
        path: nodes.PathEdit,
        earlier: Sequence[nodes.Edit],
        more: Sequence[nodes.Write],
        only_used: bool = False,
    ) -> nodes.Name:
        """A part of the run with these edits, by its name: no name of a file has a space."""
        taken = sum(part.name.startswith(f"{self.run.name}: {role}") for part in self.parts)
        name = f"{self.run.name}: {role}" + (f".{taken + 1}" if taken else "")
        binders = tuple(self._used(earlier)) if only_used else self.run.binders
        self.parts.append(
            PartRun(span=path.span, name=name, binders=binders, call=self.run.call,
                    edits=(*earlier, *more), part_of=self.run.name)
        )  # fmt: skip
        return nodes.Name(span=path.span, id=name)

    def _used(self, edits: Sequence[nodes.Edit]) -> Iterator[nodes.Binder]:
        """The binders that some edits, or the prompt, depend on."""
        named = {
            node.id
            for top in (self.run.call, *edits)
            for node in nodes.everything(top)
            if isinstance(node, nodes.Name)
        }
        named |= {word for e in edits if isinstance(e, nodes.Write) for word in e.target.path}
        parts = {part.name: part for part in self.parts}
        for name in named & parts.keys():
            named |= {axis.name for binder in parts[name].binders for axis in binder.axes}
        for binder in self.run.binders:
            if named & {axis.name for axis in binder.axes}:
                yield binder


def without_paths(run: nodes.Run) -> tuple[nodes.Run, tuple[nodes.Run, ...]]:
    """A run with its paths as writes, and the runs that these read. Raises `Problem` for what is no path."""
    if not any(isinstance(edit, nodes.PathEdit) for edit in run.edits):
        return run, ()
    lowering = _Lowering(run)
    return lowering.lowered(), tuple(lowering.parts)


def _site(target: nodes.Target) -> str:
    return ".".join(target.path)


def _write(span: Span, site: str, value: nodes.Expr) -> nodes.Write:
    """The whole of a site set to a run's."""
    target = nodes.Target(span=span, path=tuple(site.split(".")), indices=())
    return nodes.Write(span=span, target=target, op=":=", value=value, during=None)


def _set(target: nodes.Target, value: nodes.Expr) -> nodes.Write:
    return nodes.Write(span=target.span, target=target, op=":=", value=value, during=None)


def _check(path: nodes.PathEdit) -> None:
    """Sender, hops and receiver are what they can be."""
    sender, *hops, receiver = path.targets
    if _site(sender) in sites() and _site(sender) not in SENDERS:
        raise Problem(errors.no_sender(sender.span, _site(sender), SENDERS))
    for hop in hops:
        if _site(hop) in sites() and _site(hop) not in HOPS:
            raise Problem(errors.no_hop(hop.span, _site(hop)))
    end = _site(receiver)
    if end in sites() and end not in HOPS and not (end == "resid_post" and _last_layer(receiver)):
        raise Problem(errors.no_receiver(receiver.span, receiver.span.text))
    for one, other in zip(path.targets, path.targets[1:], strict=False):
        if _never_reaches(one, other):
            raise Problem(errors.not_upstream(other.span, one.span.text, other.span.text))


def _last_layer(target: nodes.Target) -> bool:
    return _layer(target) == -1


def _layer(target: nodes.Target) -> int | None:
    """The layer that is written as a number."""
    for place, item in enumerate(target.indices):
        if item.name == "layer" or (item.name is None and place == 0):
            match item.value:
                case nodes.Number(value=int(value)):
                    return value
                case nodes.Unary(op="-", operand=nodes.Number(value=int(value))):
                    return -value
    return None


def _never_reaches(one: nodes.Target, other: nodes.Target) -> bool:
    """Whether what is written of two places says that the first is not upstream of the second."""
    low, high = _layer(one), _layer(other)
    if low is None or high is None or (low < 0) != (high < 0):
        return False
    before_the_mlp = _site(one) in (*ATTENTION, *COPIES) and _site(other) == "mlp.in"
    same_layer = before_the_mlp or _site(other) == "resid_post"
    return low > high or (low == high and not same_layer)
