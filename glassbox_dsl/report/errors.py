"""The wording of everything the report has to say, as functions of facts."""

from __future__ import annotations

from collections.abc import Iterable

from glassbox_dsl.diagnostics import Diagnostic, did_you_mean


def no_report(name: str, known: Iterable[str]) -> Diagnostic:
    """The run has no report of that name."""
    return Diagnostic("GB650", f"the run has no report `{name}`", help=did_you_mean(name, known, "reports"))


def no_chart(kind: str, known: Iterable[str]) -> Diagnostic:
    """A report item is of a kind that this version cannot draw."""
    return Diagnostic("GB651", f"there is no chart `{kind}`", help=did_you_mean(kind, known, "charts"))


def no_source(kind: str, name: str, known: Iterable[str]) -> Diagnostic:
    """A report item shows something that the run did not store."""
    return Diagnostic(
        "GB652", f"the run has no {kind} `{name}` to show", help=did_you_mean(name, known, f"{kind}s")
    )


def no_axis(figure: str, name: str, known: Iterable[str]) -> Diagnostic:
    """An option of a report item names something that the measure does not have."""
    return Diagnostic(
        "GB653",
        f"`{name}` is neither an axis of `{figure}` nor a column of its data",
        help=did_you_mean(name, known, "there are"),
    )


def no_such_cell(figure: str, name: str, value: str, known: str) -> Diagnostic:
    """An axis is fixed to a value at which the measure has no cell."""
    return Diagnostic(
        "GB654",
        f"`{figure}` has no cell at {name} = {value}",
        help=f"the values of {name} are {known}" if known else "",
    )


def wrong_axes(figure: str, kind: str, found: str, needed: str) -> Diagnostic:
    """A chart cannot show a measure with these axes."""
    return Diagnostic(
        "GB655", f"`{kind}` cannot show `{figure}`", label=f"it has {found}, the chart needs {needed}"
    )


def no_data_view(data: str) -> Diagnostic:
    """Columns of a data set are wanted for a run that is not the newest one of its file."""
    return Diagnostic(
        "GB656",
        f"the items of `{data}` can be joined only for the newest complete run",
        help="leave out the run's id, or the option that names a column of the data",
    )


def no_figure(name: str, reason: str, help: str) -> Diagnostic:
    """A measure that cannot be drawn for a paper."""
    return Diagnostic("GB658", f"no figure of `{name}` can be drawn", label=reason, help=help)


def not_writable(path: str, reason: str) -> Diagnostic:
    """The pages cannot be written."""
    help_ = "name another folder: `gbx run FILE --report DIR`, or `gbx report DB -o DIR`"
    return Diagnostic("GB657", f"cannot write the report `{path}`", label=reason, help=help_)
