"""Imports the app that ``pgjobs worker MODULE:APP`` names, and says why it could not."""

import importlib
import importlib.util
import logging
import os
import sys
import sysconfig
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from pgjobs.errors import PgjobsError

if TYPE_CHECKING:
    from pgjobs.app import App

log = logging.getLogger("pgjobs.cli")

_NOT_OF_THE_MODULE = (
    __file__, importlib.__file__, "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
)


def load(target: str) -> "App":
    """Imports the App that ``MODULE:APP`` names; also searches the current folder."""
    from pgjobs.app import App

    module_name, path = _parts(target)
    found: Any = imported(module_name)
    for attribute in path.split("."):
        if not hasattr(found, attribute) and module_name in sys.stdlib_module_names:
            raise PgjobsError(f"{module_name} is a module of Python's own: rename your module")
        if not hasattr(found, attribute):
            apps = [key for key, value in vars(found).items() if isinstance(value, App)]
            raise PgjobsError(
                f"{module_name} has no {path}: "
                + (f"its apps are {', '.join(apps)}" if apps else "make one: app = pgjobs.App()")
            )
        found = getattr(found, attribute)
    if not isinstance(found, App):
        raise PgjobsError(f"{target} is not a pgjobs.App but of type {type(found).__name__}")
    return found


def imported(module_name: str) -> Any:
    """Imports a module; also searches the current folder."""
    _search_current_folder()
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _import_failed(module_name, error) from error
        raise PgjobsError(
            f"there is no module {error.name}: looked on Python's path and in {os.getcwd()}"
        ) from error
    except Exception as error:
        raise _import_failed(module_name, error) from error


def folders_of(target: str, modules: Iterable[str]) -> set[str]:
    """Returns the current folder, and those of the named modules; imports none of them."""
    _search_current_folder()
    here = os.getcwd()
    folders = {here}
    for name in (_parts(target)[0], *modules):
        found = importlib.util.find_spec(name.partition(".")[0])
        if found is not None and found.origin is not None:
            of_module = os.path.dirname(os.path.abspath(found.origin))
            if not of_module.startswith(here):
                folders.add(of_module)
    return folders


def _parts(target: str) -> tuple[str, str]:
    module_name, colon, path = target.partition(":")
    if module_name.endswith(".py") or os.sep in module_name:
        file = os.path.relpath(module_name).removesuffix(".py")
        where = ""
        if file.startswith(os.pardir):
            file = os.path.basename(file)
            where = f" in the folder {os.path.dirname(os.path.abspath(module_name))}"
        raise typer.BadParameter(
            f"{target} is a file, and MODULE:APP is wanted: write "
            f"{file.replace(os.sep, '.')}:{path or 'app'}{where}"
        )
    if not (module_name and colon and path):
        raise typer.BadParameter(f"{target!r} is not MODULE:APP: write it like myproject.jobs:app")
    return module_name, path


def _search_current_folder() -> None:
    """Puts the folder behind Python's own modules, none of which may be one of the folder's.

    And before the installed packages: some of them have modules of common names, like tests.
    """
    folder = os.getcwd()
    if sys.path[0] in ("", folder) and not sys.flags.safe_path:
        del sys.path[0]  # `python -m` has put it there
    if folder not in sys.path:
        pythons_own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
        behind = [
            place for place, path in enumerate(sys.path, 1)
            if path in pythons_own or os.path.basename(path) == "lib-dynload"
        ]
        sys.path.insert(max(behind, default=0), folder)


def _import_failed(module_name: str, error: Exception) -> PgjobsError:
    """Says in one line where the import failed, and why; the debug log has the traceback."""
    frames = [
        frame for frame in _frames(error)
        if frame.tb_frame.f_code.co_filename not in _NOT_OF_THE_MODULE
    ]
    log.debug(
        "importing %s failed", module_name,
        exc_info=(type(error), error, frames[0] if frames else None),
    )
    why, where = str(error), ""
    if isinstance(error, SyntaxError):
        why, where = error.msg, f" ({error.filename}, line {error.lineno})"
    elif frames:
        where = f" ({frames[-1].tb_frame.f_code.co_filename}, line {frames[-1].tb_lineno})"
    told = f"importing {module_name} failed with {type(error).__name__}: {why}{where}"
    if not log.isEnabledFor(logging.DEBUG):
        told += "; the traceback comes with --log-level debug"
    return PgjobsError(told)


def _frames(error: Exception) -> Iterable[TracebackType]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
