"""The command line: one command a task, its options made from the task's parameter model."""

import dataclasses
import inspect
import json
import pydoc
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
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

from napari_mitoxai import __version__, tasks, telling
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError, Progress
from napari_mitoxai.tasks import TaskParameters, validated
from napari_mitoxai.tasks.named import task_named
from napari_mitoxai.tasks.parameters import extra

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
    if not arguments or arguments[0] not in COMMANDS:
        return arguments
    model = COMMANDS[arguments[0]].model
    fields = model.model_fields.items()
    positional = {name for name, _ in fields if extra(model, name).get("argument")}
    several = {
        _flag(model, name) for name, field in fields if typing.get_origin(field.annotation) is list
    } - {_flag(model, name) for name in positional}
    switches = {_flag(model, name) for name, field in fields if field.annotation is bool}
    switches |= {"--no-" + switch.removeprefix("--") for switch in switches} | {"--json", "--help"}
    spread, seen, flag, values = arguments[:1], 0, "", 0
    for argument in arguments[1:]:
        if argument.startswith("-"):
            flag, values = ("" if argument in switches or "=" in argument else argument), 0
        elif not flag or (values and flag not in several):
            seen += 1
        else:
            values += 1
            if values > 1 and seen >= len(positional):
                spread.append(flag)
        spread.append(argument)
    return spread


def _typed_in(context: typer.Context, given: dict[str, Any]) -> list[str]:
    """The options that a person gave: the others are left to the model, which may derive them from these."""
    sources = {key: context.get_parameter_source(key) for key in given}
    return [key for key, source in sources.items() if source is not None and source.name != "DEFAULT"]


@dataclass(frozen=True)
class Command:
    """A task as a command.

    Attributes
    ----------
    tell : callable
        Prints what it returns.
    task : str
        The name of the task.
    resumes : bool
        Whether the same command goes on where a cancelled one stopped.
    hidden : bool
        Left out of the list of commands.
    more : str
        What its help says below its first sentence.
    """

    tell: Callable[[Any], None]
    task: str
    resumes: bool = False
    hidden: bool = False
    more: str = ""

    @property
    def model(self) -> type[TaskParameters]:
        """The parameter model of the task, whose module is imported for it."""
        return task_named(self.task).model

    @property
    def help(self) -> str:
        """The first sentence of the task's module, which is read and not imported: its libraries take seconds."""
        sentence = pydoc.synopsis(str(Path(tasks.__path__[0], f"{self.task}.py"))) or ""
        return "\n\n".join(filter(None, [sentence, self.more]))

    def __call__(self, context: typer.Context, **given: Any) -> None:
        """Run the task with what was typed in, and tell how it ended by the exit status too."""
        task = task_named(self.task)
        as_json = given.pop("json")
        parameters = validated(task.model, {key: _parts(given[key]) for key in _typed_in(context, given)})
        try:
            with _cancelled_by_ctrl_c() as cancel, _progress_bars() as show:
                result = task.run(parameters, progress=show, cancel=cancel)
        except Cancelled:
            kept = (
                "whatever was finished is kept; the same command goes on from there"
                if self.resumes
                else "nothing was written"
            )
            typer.echo(f"Cancelled: {kept}.", err=True)
            raise typer.Exit(_EXIT_CANCELLED) from None
        if as_json:
            typer.echo(json.dumps(dataclasses.asdict(result), default=str, ensure_ascii=False))
        else:
            self.tell(result)
        problems = getattr(result, "problems", [])
        for problem in problems:
            typer.echo(f"Error: {problem}", err=True)
        # what was finished is kept, but a script must not take it for all
        if getattr(result, "cancelled", False):
            raise typer.Exit(_EXIT_CANCELLED)
        if problems:
            raise typer.Exit(_EXIT_ERROR)


COMMANDS = {
    "demo": Command(telling.tell_demo, "demo"),
    "download": Command(telling.tell_download, "download", resumes=True),
    "cohort": Command(telling.tell_cohort, "cohort"),
    "train": Command(telling.tell_train, "train", resumes=True),
    "sweep": Command(telling.tell_sweep, "sweep", resumes=True),
    "leakage": Command(telling.tell_leakage, "leakage"),
    "predict": Command(telling.tell_predict, "predict"),
    "import-checkpoint": Command(telling.tell_import, "import_checkpoint"),
    "explain": Command(telling.tell_explain, "explain", resumes=True),
    "segment": Command(telling.tell_segment, "segment"),
    "measure": Command(telling.tell_measure, "measure"),
    "oxphos": Command(telling.tell_oxphos, "oxphos"),
    "relevance": Command(telling.tell_relevance, "relevance"),
    "aggregate": Command(telling.tell_aggregate, "aggregate"),
    "agree": Command(telling.tell_agree, "agree"),
    "trust": Command(
        telling.tell_trust,
        "trust",
        resumes=True,
        more="With --simulate, methods are judged where the truth is known: mitoxai trust --simulate --help.",
    ),
    "trust-simulate": Command(telling.tell_planted, "planted", resumes=True, hidden=True),
    "channels": Command(telling.tell_channels, "channels"),
    "concepts-from-table": Command(telling.tell_concepts, "concepts_from_table"),
    "concepts": Command(telling.tell_axes, "concepts"),
    "tcav": Command(telling.tell_tcav, "tcav"),
    "embed": Command(telling.tell_embed, "embed"),
    "figure": Command(telling.tell_figure, "figure"),
    "run": Command(telling.tell_analysis, "analysis", resumes=True),
    "report": Command(telling.tell_report, "report"),
    "info": Command(telling.tell_info, "info"),
    "convert": Command(telling.tell_convert, "convert", resumes=True),
}


def _function(command: Command) -> Callable[..., None]:
    """The command with a signature that typer makes options of."""
    model = command.model
    json_option = typer.Option("--json", help="Print the result as one JSON object.")
    fields = [
        *(_option(model, name, field) for name, field in model.model_fields.items()),
        inspect.Parameter(
            "json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, json_option]
        ),
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
    ]

    def call(context: typer.Context, **given: Any) -> None:
        command(context, **given)

    fields.sort(key=lambda parameter: parameter.kind)
    call.__signature__ = inspect.Signature(fields)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in fields}
    return call


def command_line(called: str = "") -> typer.Typer:
    """The command line with the options of one command: no other task is imported, as their libraries take seconds."""
    app = typer.Typer(
        help="Explanation maps of muscle-biopsy classifiers that can be trusted.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_version)
    for name, command in COMMANDS.items():
        function = _function(command) if name == called else lambda: None
        app.command(name, cls=_Command, help=command.help, hidden=command.hidden)(function)
    app.command()(methods)
    return app


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


def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: exit 0 when done, 2 with one sentence on standard error when not, 130 when cancelled."""
    try:
        meant = _spread(_meant(sys.argv[1:] if arguments is None else arguments))
        command_line(*meant[:1])(args=meant)
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
