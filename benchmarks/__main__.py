"""`python -m benchmarks [WORKLOAD ...]`: compare and time Glassbox and its peers, and write down what came out."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.bound import LinearLayers, patched_rows
from benchmarks.glassbox_side import WORKLOADS, Glassbox
from benchmarks.measure import Timed, compare, in_turns, prepared
from benchmarks.memory import peak_of
from benchmarks.results import Block, environment, write
from benchmarks.sides import PEERS, Side, sides_of

MODELS = ("smollm2-135m", "gemma3-270m")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)} (all)")
    parser.add_argument("--model", action="append", choices=MODELS, help="repeatable (all)")
    parser.add_argument("--peer", action="append", choices=[*PEERS, "none"], help="repeatable (all)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds in which all take turns (%(default)s)")
    parser.add_argument(
        "--limit",
        type=float,
        default=4,
        help="seconds of a round above which a peer runs only some layers and items, scaled to all (%(default)s)",
    )
    parser.add_argument(
        "--draw", type=int, help="pairs of `items` in place of 32; above 32 Glassbox runs alone"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory of `resid`")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder")
    chosen = parser.parse_args()
    if unknown := set(chosen.workloads) - set(WORKLOADS):
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    return chosen


def peers_of(chosen: argparse.Namespace, folder: Path) -> list[Side]:
    """The sides that were asked for and are installed, plain hooks apart."""
    found: list[Side] = []
    for peer, module in PEERS.items():
        if chosen.peer and peer not in chosen.peer:
            continue
        if importlib.util.find_spec(module) is None:
            say(f"{module} is not installed and is left out")
            continue
        found += sides_of(peer, folder)
    return found


def say(line: str) -> None:
    """Progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


def block(
    chosen: argparse.Namespace, glassbox: Glassbox, hooks: list[Side], peers: list[Side], model: str
) -> Block:
    """One workload on one model."""
    task = glassbox.task
    every = range(task.n_layers)
    found = Block(model, glassbox.workload.title, *task.shape, task.n_layers, task.base.shape[1])
    found.notes["reading the text, drawing and tokenising the items"] = f"{glassbox.reading_seconds:.2f} s"
    found.notes["executor"] = " ".join(glassbox.session().executor_of("m")).strip()
    ours = Timed(glassbox.name, task.n_layers, every)
    values = glassbox.run()  # warms up, as `prepared` does for the others
    work: list[tuple[Timed, Any]] = [(ours, glassbox.results)]
    if alone(chosen, glassbox):
        found.notes["compared with"] = "nothing: too much work for plain hooks"
    else:
        plain, reference = prepared(hooks[0], task, every, chosen.limit, chosen.repeats)
        compare(ours, values, reference, plain.layers, plain.items)
        for side in [hooks[0], *hooks[1:], *peers]:
            if reason := side.refuses(task):
                found.refused[side.name] = reason
                continue
            say(f"  {side.name}")
            timed, theirs = (
                (plain, reference)
                if side is hooks[0]
                else prepared(side, task, plain.layers, chosen.limit, chosen.repeats, plain.items)
            )
            compare(timed, theirs, reference, timed.layers, timed.items)
            some = task.first(timed.items)
            work.append((timed, lambda side=side, timed=timed, some=some: side.run(some, timed.layers)))
    if task.site == "resid_pre":
        rows = patched_rows(task)
        read = (task.n_layers * len(task.cells) + 2) * len(task.base)
        bound = LinearLayers(glassbox.instrument.model, rows, read, 2)
        work.insert(1, (Timed(bound.name, task.n_layers, every), bound.run))
        found.notes["rows that the layers must compute"] = f"{sum(rows):,}"
    in_turns(work, chosen.repeats, chosen.limit)
    found.timed = [timed for timed, _ in work]
    return found


def alone(chosen: argparse.Namespace, glassbox: Glassbox) -> bool:
    """Whether Glassbox runs without the others, because they would take hours."""
    return (chosen.draw or 0) > 32 and glassbox.workload is WORKLOADS["items"]


def main() -> None:
    """Run everything that was asked for."""
    chosen = arguments()
    before, blocks, path = environment(), [], None
    for model in chosen.model or MODELS:
        instrument, hooks, peers = None, [], []
        for name in chosen.workloads or WORKLOADS:
            say(f"{model}: {name}")
            draw = chosen.draw if name == "items" else None
            glassbox = Glassbox(name, f'bundled("{model}")', instrument, draw)
            instrument = glassbox.instrument
            if not hooks and not alone(chosen, glassbox):
                folder = glassbox.files["m"].weights
                assert folder is not None
                hooks, peers = sides_of("hooks", folder), peers_of(chosen, folder)
            found = block(chosen, glassbox, hooks, peers, model)
            if name == "resid" and not chosen.no_memory:
                for side in ("glassbox", "hooks"):
                    peak = peak_of(side, model)
                    found.notes[f"memory, {side}"] = (
                        f"{peak['added']:.0f} MB above {peak['loaded']:.0f} MB with the model loaded"
                    )
            blocks.append(found)
            print(found.table(), flush=True)
            path = write(chosen.out, before, blocks, path)  # so that what is interrupted keeps what it has
    say(f"written: {path} and {path.with_suffix('.json').name}")


if __name__ == "__main__":
    main()
