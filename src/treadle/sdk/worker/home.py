"""Where an app lives, so that a child process can import the same one."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
import types
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from treadle.sdk.runnable import name_of

if TYPE_CHECKING:
    from treadle.sdk.app import Treadle

_MAIN = "__main__"
_CHILDS_MAIN = "__mp_main__"
"""What the main module is called in a child, as with multiprocessing: `if __name__ == "__main__"` is not true there."""

loading: bool = False
"""Whether this is a child process that imports its app at this moment."""


@dataclass(frozen=True, slots=True)
class Home:
    """An app by name.

    Attributes:
        module: Module that holds it.
        attribute: Its name there.
        modules: Modules to import for all tasks to be declared.
        main_module: Name of the main module when it was started by name, or "".
        main_path: Path of the main script, or "".
        path: Where modules are looked for.
        argv: Of the program.
    """

    module: str
    attribute: str
    modules: list[str]
    main_module: str
    main_path: str
    path: list[str]
    argv: list[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def find_home(app: Treadle) -> Home:
    """Find the module that holds an app.

    Raises:
        ValueError: None does, or it is one that another process cannot import.
    """
    places = [
        (name, attribute)
        for name, module in list(sys.modules.items())
        for attribute, value in list(getattr(module, "__dict__", {}).items())
        if value is app
    ]
    if not places:
        raise ValueError(
            "a worker of several processes needs an app that each of them can import: keep it in a variable of a "
            "module, not in a function"
        )
    # A module of its own before the main one, which not every process can import.
    module, attribute = min(places, key=lambda place: (place[0] in (_MAIN, _CHILDS_MAIN), place[0]))
    homes = {task.function.__module__ for task in app.actions().values()}
    modules = sorted(homes - {_MAIN, _CHILDS_MAIN})
    main_module = main_path = ""
    if module == _MAIN or _MAIN in homes:
        main_module, main_path = _main_program()
    return Home(module, attribute, modules, main_module, main_path, list(sys.path), list(sys.argv))


def _main_program() -> tuple[str, str]:
    main = sys.modules[_MAIN]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return spec.name, ""
    path = getattr(main, "__file__", None)
    if path is None:
        raise ValueError(
            "a worker of several processes needs tasks that each of them can import, and these were typed in or piped "
            "in: move them into a module"
        )
    return "", os.path.abspath(path)  # noqa: PTH100 - as given, links and all


def load(home: Home, actions: list[str]) -> Treadle:
    """Import the app, in a child process.

    Args:
        home: Where it lives.
        actions: What it has to run in the parent.

    Raises:
        RuntimeError: The app is not there any more, or lacks tasks.
    """
    global loading  # noqa: PLW0603 - what is being imported has no other way to know
    from treadle.sdk.app import Treadle  # noqa: PLC0415 - the app imports the worker

    sys.path[:] = home.path
    sys.argv[:] = home.argv
    loading = True
    try:
        if home.main_module or home.main_path:
            _run_main(home)
        for name in home.modules:
            importlib.import_module(name)
        app = getattr(importlib.import_module(home.module), home.attribute, None)
    finally:
        loading = False
    if not isinstance(app, Treadle):
        raise RuntimeError(  # noqa: TRY004 - not about an argument
            f"{home.module}.{home.attribute} is no Treadle app in the child process: is it made only under "
            '`if __name__ == "__main__"`?'
        )
    if missing := sorted(set(actions) - app.actions().keys()):
        raise RuntimeError(
            f"{home.module}.{home.attribute} lacks {', '.join(map(name_of, missing))} in the child process: declare tasks where "
            "they are imported, at the top level of a module"
        )
    return app


def _run_main(home: Home) -> None:
    module = types.ModuleType(_CHILDS_MAIN)
    if home.main_module:
        content = runpy.run_module(home.main_module, run_name=_CHILDS_MAIN, alter_sys=True)
    else:
        content = runpy.run_path(home.main_path, run_name=_CHILDS_MAIN)
    module.__dict__.update(content)
    sys.modules[_MAIN] = sys.modules[_CHILDS_MAIN] = module
