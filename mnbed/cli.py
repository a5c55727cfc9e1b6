"""The frame of the command line: finds the verbs in `commands/`, maps errors to exit statuses.

A verb is one module: its docstring is the help, its `main` has annotated parameters and may return an exit
status. A module with `VERBS` instead (name -> function) is a group of them. Nothing heavy is imported here or at the
top of a command module, so that `mnbed --help` answers at once.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import typer

from mnbed import __version__, commands
from mnbed.errors import MachineError, MnbedError

_HELP = """Emulated networks for decentralized learning: mnbed builds a network with Mininet, trains a node in
every host, collects, evaluates and reports.

Exit status: 0 done; 1 the run failed; 2 the input is wrong; 3 this machine cannot do it; 130 interrupted."""
_MAX_MESSAGE = 20_000
_INTERRUPTED = 130
# Set by the shell that wants to know how a command line may go on.
_COMPLETION = "_MNBED_COMPLETE"
# Verbs that need root, at least at first; all others drop it before they read any file.
_PART_WITH_ROOT_THEMSELVES = ("run", "cli", "sweep", "plan", "doctor", "clean")


@dataclass
class _Options:
    """Global options, as the command line gave them."""

    debug: bool = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `mnbed ARGUMENTS`, by default the process's own. Always ends with SystemExit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    set_up = "--install-completion" in given
    if set_up or _COMPLETION in os.environ:
        _as_user(lambda: None)()  # what it reads and writes is in folders of the user
    try:
        make_app()(args=_debug_first(given), prog_name="mnbed")
    except OSError as error:
        if not set_up:
            raise
        _say(error, f"error: --install-completion: {error}", _Options(debug="--debug" in given))
        raise SystemExit(MachineError.exit_status) from None


def make_app() -> typer.Typer:
    """The application with every verb."""
    options = _Options()
    app = typer.Typer(
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback(help=_HELP)(_global_options(options))
    for name, module in verbs().items():
        if hasattr(module, "VERBS"):
            group = typer.Typer(help=module.__doc__, no_args_is_help=True, rich_markup_mode=None)
            for verb, function in module.VERBS.items():
                group.command(verb, help=function.__doc__)(_guarded(_as_user(function), options))
            app.add_typer(group, name=name)
        else:
            function = module.main if name in _PART_WITH_ROOT_THEMSELVES else _as_user(module.main)
            app.command(name, help=module.__doc__, no_args_is_help=False)(_guarded(function, options))
    return app


def verbs() -> dict[str, ModuleType]:
    """Name -> module, for every public module in `commands/`."""
    names = sorted(
        item.name for item in pkgutil.iter_modules(commands.__path__) if not item.name.startswith("_")
    )
    return {name: importlib.import_module(f"{commands.__name__}.{name}") for name in names}


def _global_options(options: _Options) -> Callable[..., None]:
    def callback(
        debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
        version: Annotated[  # noqa: ARG001 - acted upon by its callback
            bool,
            typer.Option(
                "--version", help="Print version and revision.", callback=_print_version, is_eager=True
            ),
        ] = False,
    ) -> None:
        options.debug = debug

    return callback


def _print_version(wanted: bool) -> None:
    if wanted:
        from mnbed.run.revision import git_revision, in_words

        _as_user(lambda: typer.echo(f"mnbed {in_words(__version__, git_revision())}"))()
        raise typer.Exit


def _as_user(main_of_verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb, run as the user behind sudo."""

    @functools.wraps(main_of_verb)
    def run(*args: Any, **kwargs: Any) -> Any:
        if os.geteuid() == 0:
            from mnbed.run.user import become_invoking_user

            become_invoking_user()
        return main_of_verb(*args, **kwargs)

    return run


def _guarded(main_of_verb: Callable[..., Any], options: _Options) -> Callable[..., None]:
    """The verb, with every exception turned into one message and an exit status."""

    @functools.wraps(main_of_verb)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            status = main_of_verb(*args, **kwargs) or 0
            sys.stdout.flush()  # here, where a reader that is gone is not an error
            raise typer.Exit(status)
        except typer.Exit:
            raise
        except MnbedError as error:
            _say(error, f"error: {error}", options)
            raise typer.Exit(error.exit_status) from None
        except KeyboardInterrupt as error:
            _say(error, "interrupted", options)
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output is gone (`mnbed plan FILE | head`): nobody is left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise typer.Exit(1) from None
        except Exception as error:
            if (full := _full_disk(error)) is not None:
                _say(error, f"error: {full}", options)
                raise typer.Exit(full.exit_status) from None
            text = " ".join(str(error).split()) or "no message"
            _say(
                error,
                f"internal error: {type(error).__name__}: {text}; run with --debug for the traceback",
                options,
            )
            raise typer.Exit(1) from None

    return run


def _full_disk(error: Exception) -> MnbedError | None:
    """The message for a full disk, wherever a verb ran into it; None for any other error."""
    from node_agent import full_disk

    if not isinstance(error, OSError) or not full_disk.is_full(error):
        return None
    return MachineError(full_disk.in_words(error), full_disk.remedy(error, os.getcwd()))


def _say(error: BaseException, text: str, options: _Options) -> None:
    sys.stdout.flush()
    if options.debug:
        traceback.print_exception(error, file=sys.stderr)
    if len(text) > _MAX_MESSAGE:  # it may quote a long input; the terminal should stay readable
        text = f"{text[:_MAX_MESSAGE]}\n... and {len(text) - _MAX_MESSAGE:,} more characters"
    # A character that the terminal's encoding lacks becomes a question mark instead of another error.
    encoding = sys.stderr.encoding or "utf-8"
    print(f"mnbed: {text}".encode(encoding, "replace").decode(encoding), file=sys.stderr)


def _debug_first(arguments: list[str]) -> list[str]:
    """`mnbed run FILE --debug` means `mnbed --debug run FILE`: users append it to a command that failed."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--debug" not in options:
        return arguments
    rest = list(arguments)
    rest.remove("--debug")
    return ["--debug", *rest]


if __name__ == "__main__":
    main()
