"""Find the app that `module:app` names."""

import importlib
import os
import sys
from typing import TYPE_CHECKING

from treadle.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    from treadle.sdk.app import Treadle


def load_app(target: str) -> "Treadle":
    """Import `module` and take `app` from it; without `:app`, the one Treadle app it holds.

    Raises CommandError when there is no such module or app. An error inside the module passes through, with its
    traceback: it is the user's code that has to be mended.
    """
    from treadle.sdk.app import Treadle

    module_name, _, attribute = target.partition(":")
    module_name = module_name.removesuffix(".py").replace("/", ".")
    # As `python -m` does: modules are looked for where the command is run.
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds texts
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        if problem.name is None or not (module_name == problem.name or module_name.startswith(f"{problem.name}.")):
            raise
        raise CommandError(
            Exit.USAGE, f"there is no module {problem.name!r} here", hint="treadle worker module:app"
        ) from None
    if attribute:
        found = getattr(module, attribute, None)
        if not isinstance(found, Treadle):
            what = "nothing" if found is None else f"a {type(found).__name__}"
            raise CommandError(Exit.USAGE, f"{target}: expected an app made with Treadle(), found {what}")
        return found
    apps = {name: value for name, value in vars(module).items() if isinstance(value, Treadle)}
    if len({id(app) for app in apps.values()}) != 1:
        names = ", ".join(apps) or "none"
        raise CommandError(Exit.USAGE, f"{module_name} should hold one app made with Treadle(); it has: {names}")
    return next(iter(apps.values()))
