"""Directives that print what the code knows of itself, so that nothing is written twice.

``mitoxai-methods``, ``mitoxai-architectures``, ``mitoxai-protocols`` and ``mitoxai-signals`` list the registries; ``mitoxai-command NAME``
lists a command's arguments and options; ``mitoxai-planted-truth`` is the table of how well each method found a planted truth.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class _Listing(SphinxDirective):
    """A directive whose content is Markdown made by `markdown`."""

    has_content = False

    def markdown(self) -> Iterator[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(self.markdown()), allow_section_headings=True)


class Methods(_Listing):
    """Every explanation method: what it answers, its settings, its source."""

    def markdown(self) -> Iterator[str]:
        from napari_mitoxai.explain import available, method
        from napari_mitoxai.explain.planted_truth import long_hint

        for name in available():
            entry = method(name)
            sign = "for (+) and against (−) the class" if entry.signed else "never negative"
            planes = "one map a channel" if entry.per_channel else "one map for all channels"
            yield from (f"## {entry.title}", "", f"`{name}` · {sign} · {planes}", "", entry.description, "")
            if hint := long_hint(name):
                yield from (f"{hint} See [](planted-truth.md).", "")
            for field_name, field in entry.parameters.model_fields.items():
                yield f"* `{field_name}` (default `{field.default}`): {field.description}"
            for preset, values in entry.presets.items():
                told = ", ".join(f"`{key}` {value}" for key, value in values.items())
                yield f"* `{name}@{preset}`: {told}"
            yield from ("", f"Source: {entry.source}.", "")


class Architectures(_Listing):
    """Every architecture and the library it comes from."""

    def markdown(self) -> Iterator[str]:
        from napari_mitoxai.models.registry import ARCHITECTURES

        yield from ("| name | from |", "|---|---|")
        for name, entry in ARCHITECTURES.items():
            yield f"| `{name}` | {entry.library} `{entry.builder}` |"


class Signals(_Listing):
    """Every class signal that a simulated patient can carry."""

    def markdown(self) -> Iterator[str]:
        from napari_mitoxai.simulate import SIGNALS

        yield from ("| name | what a patient has | channels |", "|---|---|---|")
        for name, entry in SIGNALS.items():
            yield f"| `{name}` | {entry.description} | {', '.join(entry.channels)} |"


class PlantedTruth(_Listing):
    """Every method by its place over all signals, and how much of each signal it found."""

    def markdown(self) -> Iterator[str]:
        from napari_mitoxai.explain import method
        from napari_mitoxai.explain.planted_truth import found_by, made_with, provenance, ranking
        from napari_mitoxai.simulate import SIGNALS

        told, places, found = provenance(), ranking(), found_by()
        version = told["software"]["napari-mitoxai"]
        yield f"Version {version}, {told['finished'][:10]}: {made_with()}. {' '.join(told['notes'])}"
        yield ""
        signals = list(dict.fromkeys(each.signal for methods in found.values() for each in methods))
        named = any(each.channel_named is not None for methods in found.values() for each in methods)
        heads = [
            "",
            "method",
            "times chance",
            *(SIGNALS[name].title for name in signals),
            *(["right protein named"] if named else []),
        ]
        yield from ("| " + " | ".join(heads) + " |", "|" + "---|" * len(heads))
        for name, over_all in places.items():
            own = {each.signal: each for each in found[name]}
            cells = [_found(own[signal]) if signal in own else "" for signal in signals]
            proteins = [each.channel_named for each in found[name] if each.channel_named is not None]
            if named:
                cells.append(f"{sum(proteins) / len(proteins):.0%}" if proteins else "cannot tell")
            times = f"{over_all.times_chance:.2g}" + (
                f" ({over_all.low:.2g} to {over_all.high:.2g})" if over_all.low == over_all.low else ""
            )
            yield f"| {over_all.place} | {method(name).title} | {times} | " + " | ".join(cells) + " |"
        chances = {each.signal: each.chance for methods in found.values() for each in methods}
        cells = [f"{100 * chances[signal]:.0f} %" for signal in signals]
        yield f"| | *chance* | 1 | {' | '.join(cells)} |" + (" |" if named else "")


def _found(found: Any) -> str:
    interval = f" ({100 * found.low:.0f} to {100 * found.high:.0f})" if found.low == found.low else ""
    told = f"{100 * found.value:.0f} %{interval}"
    return f"*{told}*" if found.above_chance is False else told


class Protocols(_Listing):
    """Every training protocol: what it is, and what it fills."""

    def markdown(self) -> Iterator[str]:
        from napari_mitoxai.tasks.protocols import PROTOCOLS

        yield from ("| name | what it is | settings |", "|---|---|---|")
        for name, entry in PROTOCOLS.items():
            told = ", ".join(f"`{key}` {value}" for key, value in entry.values.items()) or "the defaults"
            yield f"| `{name}` | {entry.title}. {entry.description} | {told} |"


class Command(_Listing):
    """The arguments and options of one command."""

    required_arguments: ClassVar[int] = 1

    def markdown(self) -> Iterator[str]:
        import typer

        from napari_mitoxai.cli import command_line

        commands: Any = typer.main.get_command(command_line(self.arguments[0]))
        yield from ("| | default | |", "|---|---|---|")
        for parameter in commands.commands[self.arguments[0]].params:
            if parameter.param_type_name == "argument":
                name, default = f"`{parameter.metavar or parameter.name}`", "needed"
            else:
                name = f"`{max(parameter.opts, key=len)}`" + (" (repeat)" if parameter.multiple else "")
                default = "needed" if parameter.required else _default(parameter.default)
            yield f"| {name} | {default} | {(parameter.help or '').replace('|', chr(92) + '|')} |"


def _default(value: Any) -> str:
    return "" if value is None or value is False or value in ("", []) else f"`{value}`"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("mitoxai-methods", Methods)
    app.add_directive("mitoxai-architectures", Architectures)
    app.add_directive("mitoxai-protocols", Protocols)
    app.add_directive("mitoxai-signals", Signals)
    app.add_directive("mitoxai-command", Command)
    app.add_directive("mitoxai-planted-truth", PlantedTruth)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
