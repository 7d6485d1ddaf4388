"""The command line: one command a task, its options made from the task's parameter model."""

import dataclasses
import inspect
import json
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)
from typer.core import TyperCommand

from napari_mitoxai import __version__
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError, Progress
from napari_mitoxai.tasks import TaskParameters, validated
from napari_mitoxai.tasks.parameters import extra

app = typer.Typer(
    help="Explanation maps of muscle-biopsy classifiers that can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
# a log file has no width of its own: leave room for the details
_console = Console(stderr=True, width=None if sys.stderr.isatty() else 120)
_EXIT_ERROR, _EXIT_CANCELLED = 2, 130
_MORE = "More options"


class _Command(TyperCommand):
    """A command whose help shows the few options that matter first, as the forms of the window do."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            named = "Arguments" if parameter.param_type_name == "argument" else "Options"
            told = parameter.get_help_record(ctx)
            if told is not None:
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or named, []).append(told)
        for title in sorted(sections, key=["Arguments", "Options", _MORE].index):
            with formatter.section(title):
                formatter.write_dl(sections[title])


@contextmanager
def _progress_bars() -> Iterator[Callable[[Progress], None]]:
    """One bar a stage, on standard error, so that standard output stays for answers."""
    bars = Bars(
        TextColumn("{task.description:<20}"), BarColumn(24), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[detail]}"), console=_console,
    )  # fmt: skip
    stages: dict[str, TaskID] = {}

    def show(progress: Progress) -> None:
        bars.start()  # not before there is something to show: a refused command prints its one line only
        if progress.stage not in stages:
            for earlier in stages.values():  # a stage is done when the next one starts
                bars.update(earlier, total=1, completed=1)
            stages[progress.stage] = bars.add_task(
                progress.stage, total=progress.total or None, detail=progress.detail
            )
        bars.update(
            stages[progress.stage],
            completed=progress.done,
            total=progress.total or None,
            detail=progress.detail,
        )

    try:
        yield show
    finally:
        if stages:
            bars.stop()


@contextmanager
def _cancelled_by_ctrl_c() -> Iterator[CancelToken]:
    """Ctrl-C asks the task to stop; a second one kills it."""
    cancel = CancelToken()

    def stop(number: int, frame: types.FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cancel.cancel()

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, previous)


def _flag(model: type[TaskParameters], name: str) -> str:
    return str(extra(model, name).get("option", f"--{name.replace('_', '-')}"))


def _option(model: type[TaskParameters], name: str, field: FieldInfo) -> inspect.Parameter:
    """A field as typer wants it: positional or an option, with its help and default."""
    settings = extra(model, name)
    annotation: Any = field.annotation
    help_text = field.description or ""
    if typing.get_origin(annotation) is typing.Literal:
        help_text += f" One of: {', '.join(map(str, typing.get_args(annotation)))}."
        annotation = str
    elif (
        typing.get_origin(annotation) is list
        and typing.get_origin(typing.get_args(annotation)[0]) is typing.Literal
    ):
        help_text += f" Some of: {', '.join(map(str, typing.get_args(typing.get_args(annotation)[0])))}."
        annotation = list[str]
    if settings.get("argument"):
        kind, default = (
            typer.Argument(help=help_text, metavar=name.upper(), show_default=False),
            inspect.Parameter.empty,
        )
        return inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Annotated[annotation, kind]
        )
    flag = _flag(model, name)
    metavar = "NAME ..." if typing.get_origin(annotation) is list else None
    if field.is_required():
        return inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[annotation, typer.Option(flag, help=help_text, metavar=metavar)],
        )
    default = field.get_default(call_default_factory=True)
    shown = default not in (None, [], "")
    option = typer.Option(
        flag, help=help_text, show_default=shown, metavar=metavar,
        rich_help_panel=_MORE if settings.get("advanced") else None,
    )  # fmt: skip
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, option]
    )


def _parts(value: Any) -> Any:
    """A list's items, each of which may hold several with commas between; paths may have commas of their own."""
    if not isinstance(value, list):
        return value
    return [part for item in value for part in (item.split(",") if isinstance(item, str) else [item])]


# by command: how many positional arguments it has, its options that take several values, and those that take none
_SHAPES: dict[str, tuple[int, set[str], set[str]]] = {}


# a command's other face, with parameters of its own: by command and switch, the command that is meant
_VARIANTS = {("trust", "--simulate"): "trust-simulate"}


def _meant(arguments: list[str]) -> list[str]:
    """Let ``trust --simulate`` mean the command ``trust-simulate``."""
    for (name, switch), variant in _VARIANTS.items():
        if arguments[:1] == [name] and switch in arguments:
            return [variant, *(argument for argument in arguments[1:] if argument != switch)]
    return arguments


def _spread(arguments: list[str]) -> list[str]:
    """Let ``--hold-out C03 P09`` mean ``--hold-out C03 --hold-out P09`` once all positional arguments are there."""
    if not arguments or arguments[0] not in _SHAPES:
        return arguments
    positional, several, switches = _SHAPES[arguments[0]]
    spread, seen, flag, values = arguments[:1], 0, "", 0
    for argument in arguments[1:]:
        if argument.startswith("-"):
            flag, values = ("" if argument in switches or "=" in argument else argument), 0
        elif not flag or (values and flag not in several):
            seen += 1
        else:
            values += 1
            if values > 1 and seen >= positional:
                spread.append(flag)
        spread.append(argument)
    return spread


def _typed_in(context: typer.Context, given: dict[str, Any]) -> list[str]:
    """The options that a person gave: the others are left to the model, which may derive them from these."""
    sources = {key: context.get_parameter_source(key) for key in given}
    return [key for key, source in sources.items() if source is not None and source.name != "DEFAULT"]


def _add_command(
    name: str,
    module_name: str,
    model_name: str,
    tell: Callable[[Any], None],
    *,
    hidden: bool = False,
    resumes: bool = False,
    more: str = "",
) -> None:
    """Make a command of a task module: its options from the parameter model, its help from `run`; `resumes` if a cancelled one goes on."""
    module = import_module(f"napari_mitoxai.tasks.{module_name}")
    model: type[TaskParameters] = getattr(module, model_name)

    def command(context: typer.Context, **given: Any) -> None:
        as_json = given.pop("json")
        parameters = validated(model, {key: _parts(given[key]) for key in _typed_in(context, given)})
        try:
            with _cancelled_by_ctrl_c() as cancel, _progress_bars() as show:
                result = module.run(parameters, progress=show, cancel=cancel)
        except Cancelled:
            kept = (
                "what was finished is kept; the same command goes on from there"
                if resumes
                else "nothing was written"
            )
            typer.echo(f"Cancelled: {kept}.", err=True)
            raise typer.Exit(_EXIT_CANCELLED) from None
        if as_json:
            typer.echo(json.dumps(dataclasses.asdict(result), default=str, ensure_ascii=False))
        else:
            tell(result)
        problems = getattr(result, "problems", [])
        for problem in problems:
            typer.echo(f"Error: {problem}", err=True)
        # what was finished is kept, but a script must not take it for all
        if getattr(result, "cancelled", False):
            raise typer.Exit(_EXIT_CANCELLED)
        if problems:
            raise typer.Exit(_EXIT_ERROR)

    positional = sum(bool(extra(model, name).get("argument")) for name in model.model_fields)
    several = [
        name
        for name, field in model.model_fields.items()
        if typing.get_origin(field.annotation) is list and not extra(model, name).get("argument")
    ]
    switches = {_flag(model, name) for name, field in model.model_fields.items() if field.annotation is bool}
    switches |= {"--no-" + switch.removeprefix("--") for switch in switches} | {"--json", "--help"}
    _SHAPES[name] = (positional, {_flag(model, field_name) for field_name in several}, switches)
    fields = [_option(model, field_name, field) for field_name, field in model.model_fields.items()]
    json_option = typer.Option("--json", help="Print the result as one JSON object.")
    fields.append(
        inspect.Parameter(
            "json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, json_option]
        )
    )
    fields.append(
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    )
    fields.sort(key=lambda parameter: parameter.kind)
    command.__signature__ = inspect.Signature(fields)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in fields}
    command.__doc__ = (inspect.getdoc(module) or "").split("\n\n")[0] + (f"\n\n{more}" if more else "")
    app.command(name, cls=_Command, hidden=hidden)(command)


def _tell_train(result: Any) -> None:
    for call in result.metrics["subject_calls"]:
        mark = "right" if call["call"] == call["group"] else "WRONG"
        typer.echo(
            f"{call['subject']} ({call['group']}) is called {call['call']}: {mark} (probability of {list(call['probabilities'])[-1]} {call['probability']:.2f}, {call['patches']} patches)"
        )
    if result.metrics["subject_accuracy"] is not None:
        low, high = result.metrics["confidence_interval"]
        typer.echo(
            f"{'Subjects' if result.metrics.get('optimistic') else 'Held-out subjects'} called right: {result.metrics['subject_accuracy']:.0%} (95 % interval {low:.0%} to {high:.0%})"
        )
    if "permutation" in result.metrics:
        told = result.metrics["permutation"]
        typer.echo(
            f"Permuting the subjects' labels: p = {told['p']:.3g} (the smallest that this cohort can give: {told['smallest_p']:.3g})"
        )
    if result.metrics.get("optimistic"):
        typer.echo(f"Held-out patches called right: {result.metrics['patch_accuracy']:.0%}, optimistic")
    for rank, row in enumerate(result.metrics.get("mixing", {}).get("channels", []), start=1):
        typer.echo(
            f"{rank}. {row['channel']}: {_spread_of(row, 'weight_x_sd')} of the blend ({_spread_of(row, 'weight')} by weight alone)"
        )
    for row in result.metrics.get("concepts", []):
        pure = "cannot be told" if row["auc"] is None else f"{row['auc']:.2f}"
        typer.echo(
            f"Axis of {row['concept']} in {row['layer']}: purity {pure} (AUC, subjects {row['subjects']})"
        )
    for note in result.metrics["notes"]:
        typer.echo(f"Note: {note}")
    typer.echo(f"Run: {result.run}")
    typer.echo(f"Next: mitoxai explain {result.run} SECTION --method grad_cam --out MAPS.ome.zarr")


def _spread_of(row: dict[str, Any], key: str) -> str:
    spread = row.get(f"{key}_sd")
    return f"{row[key]:.1%}" + (f" ± {spread:.1%}" if spread is not None else "")


def _tell_sweep(result: Any) -> None:
    for row in result.rows:
        parts = [f"{row['rank']}. {row['channels']}, {row['architecture']}:"]
        if "patch_random_accuracy_mean" in row:
            spread = row["patch_random_accuracy_sd"]
            parts.append(
                f"patches at random {row['patch_random_accuracy_mean']:.1%}"
                + (f" (SD {spread:.1%})" if spread is not None else "")
                + (", optimistic;" if row["patch_random_optimistic"] else ";")
            )
        if row.get("subject_accuracy") is not None:
            parts.append(
                f"subjects left out {row['subject_accuracy']:.0%} (95 % interval {row['subject_interval_low']:.0%} to "
                f"{row['subject_interval_high']:.0%}, permutation p {row['permutation_p']:.3g}, "
                f"the smallest possible {row['smallest_p']:.3g})"
            )
        typer.echo(" ".join(parts))
    typer.echo(f"Table: {result.table}")
    typer.echo(f"Plot: {result.plot}")
    if result.mixing is not None:
        typer.echo(f"Shares of the mixed channels: {result.mixing}")


def _tell_axes(result: Any) -> None:
    for row in result.purity:
        if row["auc"] is None:
            continue
        typer.echo(
            f"Axis of {row['concept']} in {row['layer']}: purity {row['auc']:.2f} (AUC, {row['examples']} examples of subjects {row['subjects']}; "
            f"the best of all axes {row['best_axis_auc']:.2f})"
        )
    for row in result.importance:
        if row["class"] == "all":
            typer.echo(
                f"Importance of {row['concept']} in {row['layer']}: {row['importance']:.2f} times the loss when switched"
            )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    for overlay in result.overlays:
        typer.echo(f"Overlay: {overlay}")
    typer.echo(f"Tables and pictures: {result.folder}")


def _tell_leakage(result: Any) -> None:
    typer.echo(
        "With labels permuted by subject there is nothing to learn. What the splits report all the same:"
    )
    for split, accuracy in result.patch_accuracy.items():
        typer.echo(
            f"{split}: {accuracy:.0%} of the patches called right, {result.subject_accuracy[split]:.0%} of the subjects "
            f"({result.learnt[split]:.0%} of the patches trained on)"
        )
    typer.echo(f"Always naming the largest group: {result.chance:.0%} of the patches")
    typer.echo(result.verdict)


def _tell_predict(result: Any) -> None:
    low, high = result.interval
    typer.echo(
        f"The model calls {result.section.name} {result.call}: probability of {result.last_class} {result.probability[result.last_class]:.2f} "
        f"(95 % of resampled sections: {low:.2f} to {high:.2f}; {result.agreement:.0%} of {result.patches} patches agree)"
    )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Probability map: {result.maps}")


def _tell_import(result: Any) -> None:
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Run: {result.run}")
    typer.echo(f"Next: mitoxai predict {result.run} SECTION --out PROBABILITY.ome.zarr")


def _tell_explain(results: Any) -> None:
    for result in results.sections:
        _tell_maps(result)
    if len(results.sections) == 1 and not results.failed:
        (result,) = results.sections
        typer.echo(f"Next: mitoxai figure {result.section} --maps {result.maps} --out FIGURE.pdf")


def _tell_maps(result: Any) -> None:
    probabilities = ", ".join(f"{name} {value:.2f}" for name, value in result.verdict["probability"].items())
    what = result.section.name if result.whole else f"this part of {result.section.name}"
    typer.echo(
        f"The model calls {what} {result.verdict['call']} ({probabilities}; mean of {result.verdict['patches']} patches)."
    )
    if result.use_of_subject in ("train", "validation"):
        typer.echo(
            f"Note: the model has seen this subject ({result.use_of_subject}); its call is no evidence for new subjects."
        )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Maps for {result.target}: {result.maps}")


def _tell_segment(result: Any) -> None:
    typer.echo(f"{result.fibres} fibres: {result.labels}")
    typer.echo(f"{result.analysable} of them analysable by their shape: {result.classes}")


def _tell_measure(result: Any) -> None:
    typer.echo(f"{result.fibres} fibres, {len(result.columns)} columns: {result.table}")
    if result.fibres:
        told = ", ".join(f"{number} {kind}" for kind, number in result.classes.items())
        typer.echo(f"By class: {told}; {result.near_empty} hold next to nothing")
    if hasattr(result, "answers"):
        _tell_answers(result)


def _tell_answers(result: Any) -> None:
    from napari_mitoxai.fibres.answers import QUESTIONS, Answer, in_brief

    brief = in_brief([Answer(**answer) for answer in result.answers])
    for question, asked in QUESTIONS.items():
        said = [answer for answer in brief if answer.question == question]
        if said:
            typer.echo(asked)
        for answer in said:
            typer.echo(f"  {answer.method}: {answer.sentence}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"All answers, protein by protein: {result.answers_file}")
    typer.echo(f"Relevance by fibre: {result.relevance}")
    typer.echo(f"By compartment: {result.compartments}")
    if result.figure is not None:
        typer.echo(f"Figure: {result.figure}")


def _tell_oxphos(result: Any) -> None:
    for row in result.subjects:
        if row["deficient"] is None:
            typer.echo(f"{row['subject']}, {row['protein']}: no fibre could be called")
            continue
        interval = (
            f" (95 % {row['deficient_low']:.1%} to {row['deficient_high']:.1%})"
            if row["deficient_low"] is not None
            else ""
        )
        left_out = (
            f"; {row['left_out_deficient']:.1%} where its own fibres are not among the controls: false positives"
            if row["left_out_deficient"] is not None
            else ""
        )
        typer.echo(
            f"{row['subject']}{', control' if row['control'] else ''}, {row['protein']}: {row['deficient']:.1%} of {row['fibres']} fibres deficient{interval}{left_out}"
        )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Calls: {result.calls}")
    typer.echo(f"Proportions: {result.proportions}")
    if result.plot is not None:
        typer.echo(f"Plot: {result.plot}")


def _tell_relevance(result: Any) -> None:
    typer.echo(
        f"{result.quantities} quantities of {sum(result.subjects.values())} subjects "
        f"({', '.join(f'{number} {group}' for group, number in result.subjects.items())}), one value a subject."
    )
    typer.echo(f"The smallest p that these subjects can give: {result.smallest_p:.3g}")
    for row in result.first:
        typer.echo(
            f"  {row['method']}, {row['quantity']}: {row['group']} {row['median']:.3g}, {row['reference']} {row['median_reference']:.3g} "
            f"(medians; p = {row['p']:.3g}, adjusted {row['q']:.3g})"
        )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Table: {result.table}")
    if result.figure is not None:
        typer.echo(f"Figure: {result.figure}")


def _tell_aggregate(result: Any) -> None:
    channels = f", channels {', '.join(result.channels)}" if result.channels else ""
    typer.echo(
        f"{result.checkpoints} checkpoints on {result.section} combined: {', '.join(result.methods)}{channels}."
    )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Combined maps: {result.maps}")


def _tell_agree(result: Any) -> None:
    typer.echo(
        f"{len(result.methods)} methods, {result.sections} section{'s' if result.sections > 1 else ''} of "
        f"{result.subjects} subject{'s' if result.subjects > 1 else ''}. Rank correlation over pixels:"
    )
    for pair in result.pairs:
        value = "no number" if pair["value"] != pair["value"] else f"{pair['value']:.2f}"
        interval = (
            f" (95 % interval {pair['low']:.2f} to {pair['high']:.2f})" if pair["low"] == pair["low"] else ""
        )
        typer.echo(f"  {pair['method_a']}, {pair['method_b']}: {value}{interval}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Table: {result.table}")
    if result.figure is not None:
        typer.echo(f"Figure: {result.figure}")


def _tell_trust(result: Any) -> None:
    from napari_mitoxai.trust.checks import SCORES
    from napari_mitoxai.trust.recorded import FAILS

    typer.echo(
        f"{result.patches} patches, the same for every method; maps for {result.target}. Means (95 % intervals):"
    )
    by_score: dict[str, list[dict[str, Any]]] = {}
    for row in result.scores:
        by_score.setdefault(row["score"], []).append(row)
    for name, rows in by_score.items():
        typer.echo(f"{SCORES[name].title}, {SCORES[name].better} is better:")
        for row in sorted(rows, key=lambda row: row["value"], reverse=SCORES[name].better == "higher"):
            fails = f"  {FAILS}" if name == "randomisation_rank" and row["fails_sanity"] else ""
            number = "no number" if row["value"] != row["value"] else f"{row['value']:.3f}"
            interval = f" ({row['low']:.3f} to {row['high']:.3f})" if row["low"] == row["low"] else ""
            typer.echo(f"  {row['method']}: {number}{interval}{fails}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    if result.known:
        typer.echo(f"{result.known} of {result.known + result.computed} checks were known from before.")
    typer.echo(f"Table: {result.table}")
    for what, path in (
        ("Curves", result.curves),
        ("Figure", result.figure),
        ("Kept with the maps", result.maps),
    ):
        if path is not None:
            typer.echo(f"{what}: {path}")


def _tell_channels(result: Any) -> None:
    typer.echo(f"Channels by their mean rank over the ways: {', '.join(result.channels)}")
    typer.echo("Rank correlation of the ways:")
    for pair in result.pairs:
        typer.echo(f"  {pair['way_a']}, {pair['way_b']}: {pair['correlation']:.2f}")
    typer.echo(
        f"With {len(result.channels)} channels one order in twenty reaches {result.chance:.2f} or -{result.chance:.2f} by chance."
    )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Table: {result.table}")
    typer.echo(f"Plot: {result.plot}")


def _tell_concepts(result: Any) -> None:
    for concept, subjects in result.counts.items():
        told = ", ".join(f"{subject} {number}" for subject, number in subjects.items())
        typer.echo(f"{concept}: {sum(subjects.values())} examples ({told})")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Concepts: {result.concepts}")
    typer.echo(f"Next: mitoxai tcav RUN {result.concepts} --out DIR")


def _tell_tcav(result: Any) -> None:
    for sentence in result.sentences:
        typer.echo(sentence)
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Table: {result.table}")
    typer.echo(f"Plot: {result.plot}")


def _tell_embed(result: Any) -> None:
    typer.echo(f"{result.patches} patches of {result.subjects} subject{'s' if result.subjects > 1 else ''}.")
    for sentence in result.said:
        typer.echo(sentence)
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Coordinates: {result.table}")
    typer.echo(f"Numbers: {result.numbers}")
    typer.echo(f"Figure: {result.figure}")


def _tell_analysis(result: Any) -> None:
    for number, step in enumerate(result.steps, 1):
        took = f", {step.seconds:.0f} s" if step.state == "done" else ""
        typer.echo(f"{number}. {step.task}: {step.state}{took}")
        for path in step.writes:
            typer.echo(f"   {path}")


def _tell_planted(result: Any) -> None:
    for model in result.models:
        typer.echo(
            f"{model['signal']}, seed {model['seed']}: {model['accuracy']:.0%} of the held-out patches called right; of {model['held_out']} "
            f"that show the signal {model['right']} right, {model['confident']} with confidence, {model['explained']} explained"
        )
    signals = len({model["signal"] for model in result.models if model["explained"]})
    typer.echo(
        f"Methods by their mean place over {signals} signal{'s' if signals > 1 else ''} (relevance mass in the planted truth):"
    )
    for row in result.ranking:
        interval = f" ({row['low']:.2g} to {row['high']:.2g})" if row["low"] == row["low"] else ""
        place = (
            f"{row['place']}. {row['method']}"
            if row["mean_place"] == row["mean_place"]
            else f"-  {row['method']}"
        )
        typer.echo(f"  {place}: {row['times_chance']:.2g} times chance{interval}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Table: {result.table}")
    typer.echo(f"Plot: {result.plot}")


def _tell_figure(result: Any) -> None:
    typer.echo(f"Figure: {result.figure}")
    typer.echo(f"Made from: {result.sidecar}")


def _tell_info(result: Any) -> None:
    for section in getattr(result, "sections", [result]):
        channels, height, width = section.shape
        typer.echo(f"{section.name}: {section.format} ({section.dialect}), {section.path}")
        if section.subject or section.group:
            typer.echo(f"  Subject {section.subject}, group {section.group or 'not told'}")
        typer.echo(
            f"  {channels} channels of {height} x {width} pixels, {section.dtype}, {section.pixel_size_um:g} µm a pixel"
        )
        if len(section.levels) > 1:
            typer.echo(f"  Pyramid: {', '.join(f'{y} x {x}' for y, x in section.levels)}")
        for channel in section.channels:
            isotope = f"{channel['mass']}{channel['metal']}" if channel["metal"] else "-"
            typer.echo(
                f"  {channel['index']:3d}  {isotope:6s} {channel['target']:24s} {channel['role']:20s} from {channel['source']}"
            )
        for each in section.acquisitions:
            size = " x ".join(map(str, each["shape"])) if each["shape"] else "unknown size"
            typer.echo(
                f"  Acquisition {each['id']} {each['description']}: {each['problem'] or size}{' (this one)' if each['id'] == section.acquisition else ''}"
            )
        for warning in section.warnings:
            typer.echo(f"  Warning: {warning}")
    if hasattr(result, "sections"):
        for warning in result.warnings:
            typer.echo(f"Warning: {warning}")
        for each in result.failed:
            typer.echo(f"Not opened: {each['error']}")


def _tell_convert(result: Any) -> None:
    for warning in result.warnings:
        typer.echo(f"Warning: {warning}")
    typer.echo(
        f"{' x '.join(map(str, result.shape))} in {result.levels} level{'s' if result.levels > 1 else ''}: {result.out}"
    )


def _tell_cohort(result: Any) -> None:
    for row in result.sections:
        told = [row.path.name + (f" ({row.acquisition})" if row.acquisition else "")]
        if row.shape is not None:
            told.append(" x ".join(map(str, row.shape)))
        if row.patches is not None:
            told.append(f"{row.patches} patches")
        if row.missing:
            told.append(f"lacks {', '.join(row.missing)}")
        if not row.include:
            told.append("left out")
        typer.echo(f"{row.subject or '-':12s} {row.group or '-':10s} {' · '.join(told)}")
        if row.problem:
            typer.echo(f"{'':23s} Not read: {row.problem}")
    for group, subjects in result.groups.items():
        typer.echo(
            f"{group or 'No group'}: {len(subjects)} subject{'' if len(subjects) == 1 else 's'} ({', '.join(subjects)})"
        )
    typer.echo(f"Channels in every section: {', '.join(result.channels) or 'none'}")
    for sentence in result.same:
        typer.echo(f"Same image: {sentence}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    if result.table is not None:
        typer.echo(f"Table: {result.table}")
        lacking = {row.subject for row in result.sections if row.include and row.missing}
        without = "".join(f" --where '{'subject!=' + subject}'" for subject in sorted(lacking))
        typer.echo(f"Next: mitoxai train {result.table}{without} --out RUN --hold-out SUBJECT")


def _tell_download(result: Any) -> None:
    typer.echo(f"Cohort: {result.cohort}")
    typer.echo(f"Next: mitoxai train {result.cohort} --out RUN")


def _tell_report(result: Any) -> None:
    counted = ", ".join(f"{kind.lower()}: {number}" for kind, number in result.parts.items())
    typer.echo(f"In it: {counted}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Report: {result.report}")


def _tell_demo(result: Any) -> None:
    for line in result.lines:
        typer.echo(line)


_add_command("demo", "demo", "DemoParameters", _tell_demo)
_add_command("download", "download", "DownloadParameters", _tell_download, resumes=True)
_add_command("cohort", "cohort", "CohortParameters", _tell_cohort)
_add_command("train", "train", "TrainParameters", _tell_train, resumes=True)
_add_command("sweep", "sweep", "SweepParameters", _tell_sweep, resumes=True)
_add_command("leakage", "leakage", "LeakageParameters", _tell_leakage)
_add_command("predict", "predict", "PredictParameters", _tell_predict)
_add_command("import-checkpoint", "import_checkpoint", "ImportParameters", _tell_import)
_add_command("explain", "explain", "ExplainParameters", _tell_explain, resumes=True)
_add_command("segment", "segment", "SegmentParameters", _tell_segment)
_add_command("measure", "measure", "MeasureParameters", _tell_measure)
_add_command("oxphos", "oxphos", "OxphosParameters", _tell_oxphos)
_add_command("relevance", "relevance", "RelevanceParameters", _tell_relevance)
_add_command("aggregate", "aggregate", "AggregateParameters", _tell_aggregate)
_add_command("agree", "agree", "AgreeParameters", _tell_agree)
_add_command(
    "trust",
    "trust",
    "TrustParameters",
    _tell_trust,
    resumes=True,
    more="With --simulate, methods are judged where the truth is known: mitoxai trust --simulate --help.",
)
_add_command("trust-simulate", "planted", "PlantedParameters", _tell_planted, hidden=True, resumes=True)
_add_command("channels", "channels", "ChannelsParameters", _tell_channels)
_add_command("concepts-from-table", "concepts_from_table", "ConceptsFromTableParameters", _tell_concepts)
_add_command("concepts", "concepts", "ConceptsParameters", _tell_axes)
_add_command("tcav", "tcav", "TcavParameters", _tell_tcav)
_add_command("embed", "embed", "EmbedParameters", _tell_embed)
_add_command("figure", "figure", "FigureParameters", _tell_figure)
_add_command("run", "analysis", "AnalysisParameters", _tell_analysis, resumes=True)
_add_command("report", "report", "ReportParameters", _tell_report)
_add_command("info", "info", "InfoParameters", _tell_info)
_add_command("convert", "convert", "ConvertParameters", _tell_convert, resumes=True)


@app.command()
def methods(json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """List the explanation methods."""
    from napari_mitoxai.explain import available, faults, method
    from napari_mitoxai.explain.planted_truth import found_by, long_hint

    for fault in faults():
        typer.echo(fault, err=True)
    entries = {name: method(name) for name in available()}
    if json_:
        typer.echo(
            json.dumps(
                {
                    name: {
                        "title": entry.title,
                        "description": entry.description,
                        "parameters": entry.defaults(),
                        "presets": entry.presets,
                        "planted_truth": [dataclasses.asdict(found) for found in found_by().get(name, ())],
                    }
                    for name, entry in entries.items()
                }
            )
        )
        return
    for name, entry in entries.items():
        typer.echo(
            f"{name:20s} {entry.title}: {entry.description}{' ' if long_hint(name) else ''}{long_hint(name)}"
        )


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: exit 0 when done, 2 with one sentence on standard error when not, 130 when cancelled."""
    try:
        app(args=_spread(_meant(sys.argv[1:] if arguments is None else arguments)))
    except MitoxaiError as error:
        typer.echo(
            f"Error: {' '.join(str(error).splitlines())}", err=True
        )  # names of files may have line breaks
        sys.exit(_EXIT_ERROR)
    except (Cancelled, KeyboardInterrupt):
        typer.echo("Cancelled.", err=True)
        sys.exit(_EXIT_CANCELLED)


if __name__ == "__main__":
    main()
