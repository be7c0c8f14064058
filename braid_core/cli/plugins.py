"""List and check what is installed, and show the options of a plugin."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from braid_core.cli import VERBS
from braid_core.registry import states
from braid_core.registry.discovery import GROUPS, Catalogue, Plugin, scan

TYPE_CHECKING = False  # `typing` is not imported: this module is on the path of `braid plugins list`
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from braid_core.errors import PluginError

COLUMNS = ("KIND", "NAME", "DISTRIBUTION", "VERSION", "STATE")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``list``, ``check`` and ``schema``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what is installed, and which names can be used; imports no plugin")
    listing.add_argument("--json", action="store_true", help="as JSON instead of a table")
    check = actions.add_parser("check", help="import plugins one after the other, and say what is wrong with them")
    check.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all that are installed)")
    schema = actions.add_parser("schema", help="the options of a plugin, as JSON schema")
    schema.add_argument("kind", nargs="?", metavar="KIND", help="needed where plugins of two kinds share the name")
    schema.add_argument("name", metavar="NAME")


def main(args: Namespace) -> int:
    """Run one action; raises :class:`PluginError` for a name that cannot be resolved."""
    if args.action == "list":
        return list_plugins(as_json=args.json)
    if args.action == "check":
        from braid_core.cli.check import check_plugins

        return check_plugins(args.names)
    return show_schema(args.kind, args.name)


def list_plugins(as_json: bool) -> int:
    """Print everything that is registered and whether its name can be used; the author's first success."""
    catalogue = scan()
    for warning in catalogue.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    rows = sorted(_rows(catalogue), key=lambda row: (list(GROUPS).index(row[0]), *row))
    if as_json:
        import json

        print(json.dumps([dict(zip(map(str.lower, COLUMNS), row, strict=True)) for row in rows], indent=2))
    else:
        print(_table(rows))
    return 0


def shown_state(plugin: Plugin, catalogue: Catalogue) -> str:
    """The state of ``plugin`` on the command line, where our own verbs are reserved too."""
    state = states.state(plugin, catalogue)
    taken = plugin.kind == "command" and plugin.name in VERBS
    return states.SHADOWED if taken and state in (states.OK, states.CONFLICT) else state


def unknown(name: str, catalogue: Catalogue) -> PluginError:
    """The error for a name that no plugin of any kind has."""
    from braid_core.errors import PluginError, nearest

    known = {plugin.qualified if ":" in name else plugin.name for plugin in catalogue.plugins}
    return PluginError(f"no plugin is called {name!r}", fix=f"{nearest(name, known)} (see: braid plugins list)")


def _rows(catalogue: Catalogue) -> Iterator[tuple[str, ...]]:
    for plugin in catalogue.plugins:
        state = shown_state(plugin, catalogue)
        yield plugin.kind, plugin.name, plugin.distribution, plugin.version, state


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in (COLUMNS, *rows)) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (COLUMNS, *rows)]
    if any(row[-1] in (states.SHADOWED, states.CONFLICT) for row in rows):
        lines += ["", "A plugin that is shadowed or in conflict is named in full: DISTRIBUTION:NAME."]
    return "\n".join(line.rstrip() for line in lines)


def show_schema(kind: str | None, name: str) -> int:
    """Print the JSON schema of the spec that ``name`` means."""
    import json

    from braid_core.errors import PluginError
    from braid_core.registry.resolve import spec_class
    from braid_core.registry.spec import BASES

    if kind is not None and kind not in BASES:
        raise PluginError(f"there is no kind of component {kind!r}", fix=f"the kinds are {', '.join(BASES)}")
    kinds = [kind] if kind else sorted({p.kind for p in scan().plugins if p.kind in BASES and states.matches(p, name)})
    if len(kinds) > 1:
        choices = " or ".join(f"`braid plugins schema {kind} {name}`" for kind in kinds)
        raise PluginError(f"{name!r} names plugins of several kinds", fix=f"say which: {choices}")
    if not kinds:
        raise unknown(name, scan())
    print(json.dumps(spec_class(kinds[0], name).model_json_schema(), indent=2))
    return 0
