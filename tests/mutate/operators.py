# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Every small change to the core's C sources that a slip of the hand could have made.

Clang parses each source and tells where every expression and statement begins and ends, so nothing
here guesses at C: a `&` is known to be an operator and not the address of something, and what must
be a constant is left alone. What comes out is a list of points, each a place in a file with one or
more texts that could stand there instead (schemata.py writes them all into one copy of the source).

Left alone, since a changed one could not be told from a right one, or would not compile: arguments
of HOST_ASSERT (they judge, they do not act; and they are not in a release), constant expressions,
static tables, and the bodies of macros (there are few, and most are constants).

Classes. "flush", "fence", "lock", "free" and "check" are deletions of one call that synchronizes or
gives back, or of one test of what a call returned: what shipped bugs are made of. Each of these
must be killed. Everything else is "rest": of it a share may be equivalent or beyond the tests.
"""

import json
import re
import subprocess

GATED = ("flush", "fence", "lock", "free", "check")

# What a call that stands as a statement of its own is for, by its name.
CALLS = (
    ("flush", r"^(host_(invlpg|flush_tlb|kick|iommu_flush)|pmap_invalidate_\w+|flush_\w+"
              r"|pmap_gather_(begin|add|table|finish)"
              r"|pmap_(stamp\w*|leaf_changed|leaf_settled|drain)|pend_range|force_slots"
              r"|await_generation|complete_generation|finish_now"
              r"|break_before_make|host_epoch_drain)$"),
    ("fence", r"^host_fence$"),
    ("lock", r"^host_((mutex_)?(un)?lock|epoch_(enter|exit))$"),
    ("free", r"^(?!host_store)\w*(^|_)(free|pager_put|putpage|unref|uncharge|destroy|release"
             r"|discard|terminate|disown|unpin|unshare|unwire|reap|forget|give|drop|detach|close"
             r"|abandon|undo|defer)(_|$)|^(bequeath|let_go|unlink_finished)$"),
)

# Locked operations are fences too. Where the value is not used, plain ones would do the same if
# they were alone: name, and what stands there instead.
WEAKER = {
    "host_xchg": "host_store_release(%s)",
    "host_fetch_or": "host_store(%s, host_load(%s) | (%s))",
    "host_fetch_and": "host_store(%s, host_load(%s) & (%s))",
}

RELATIONAL = {"<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"),
              "==": ("!=",), "!=": ("==",)}
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "%": "*", "<<": ">>", ">>": "<<",
              "&": "|", "|": "&", "^": "|"}
ASSIGNING = {"+=": "-=", "-=": "+=", "|=": "&=", "&=": "|=", "<<=": ">>=", ">>=": "<<=",
             "*=": "/=", "/=": "*=", "^=": "|="}
UNTOUCHED = ("HOST_ASSERT", "static_assert", "_Static_assert", "offsetof")
CONSTANT = {"ConstantExpr", "EnumConstantDecl", "StaticAssertDecl", "FieldDecl",
            "UnaryExprOrTypeTraitExpr", "OffsetOfExpr", "RecordDecl", "EnumDecl"}
# Calls that only ask: what they return says nothing about whether they could do their work.
PREDICATES = r"^host_(load|cpu|has|lock_held|mutex_held|page_word)|^pte?_(?!cas)" \
             r"|(^|_)(is|are|has|may|wants|needs|reached|fits|same|covers|agree|of|in|at|fmt)(_|$)"
LEAVES = {"ReturnStmt", "GotoStmt", "BreakStmt", "ContinueStmt"}
EXPRESSIONS = {"CallExpr", "BinaryOperator", "CompoundAssignOperator", "UnaryOperator"}


class Point:
    """A place in a file, [start, end) in bytes, and what could stand there: [(operator, text)]."""

    def __init__(self, path, function, class_, kind, start, end, text):
        self.path, self.function, self.class_, self.kind = path, function, class_, kind
        self.start, self.end, self.text = start, end, text
        self.places = [(start, end)]  # more than one where several statements go together
        self.choices = []

    def add(self, operator, text):
        text = plain(text)
        if text != plain(self.text) and text not in [t for _, t in self.choices]:
            self.choices.append((operator, text))


def plain(text):
    """C without comments and line ends, so that it can be put into another line."""
    return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", " ", text, flags=re.S)).strip()


def parse(compiler, flags, root, path):
    """Clang's tree of a source, each location with the file that it is in."""
    out = subprocess.run(compiler + flags + ["-fsyntax-only", "-w", "-Xclang", "-ast-dump=json",
                                             path], cwd=root, capture_output=True, check=True)
    tree = json.loads(out.stdout)
    at = [None]  # the file is only named where it differs from the one before

    def name_files(x):
        if isinstance(x, dict):
            if "offset" in x:
                at[0] = x["file"] = x.get("file", at[0])
                return
            for value in x.values():
                name_files(value)
        elif isinstance(x, list):
            for value in x:
                name_files(value)

    name_files(tree)
    return tree


class Reader:
    """Finds the points of one parsed source, in whichever of our files they are."""

    def __init__(self, files):
        self.files = files  # path: text
        self.points = {}
        self.function = None
        self.assigned = {}  # variables of the function that hold what a call returned

    # -- Where something is --

    def place(self, loc):
        """(path, offset, length of the token, expansion it belongs to), or None."""
        if "offset" in loc:
            return self.ours(loc), loc["offset"], loc["tokLen"], None
        if "expansionLoc" not in loc:
            return None
        outer, inner = loc["expansionLoc"], loc["spellingLoc"]
        path = self.ours(outer)
        if path is None:
            return None
        word = re.match(r"\w+", self.files[path][outer["offset"]:])
        if word is None or word[0] in UNTOUCHED:
            return None
        if outer.get("isMacroArgExpansion") and self.ours(inner) == path \
                and not self.in_directive(path, inner["offset"]):
            return path, inner["offset"], inner["tokLen"], None
        return path, outer["offset"], len(word[0]), outer["offset"]

    def ours(self, loc):
        path = loc.get("file") or ""
        path = path[2:] if path.startswith("./") else path
        return path if path in self.files else None

    def in_directive(self, path, offset):
        text = self.files[path]
        line = text.rfind("\n", 0, offset) + 1
        while line > 1 and text[line - 2] == "\\":
            line = text.rfind("\n", 0, line - 1) + 1
        return text.startswith("#", line)

    def extent(self, node):
        """(path, start, end) of a node as it is written, or None."""
        span = node.get("range", {})
        begin, end = (self.place(span.get(k, {})) for k in ("begin", "end"))
        if not begin or not end or begin[0] != end[0] or begin[0] is None:
            return None
        path, start, stop = begin[0], begin[1], end[1] + end[2]
        if end[3] is not None:
            stop = self.past_arguments(path, stop)
        if stop <= start or self.in_directive(path, start):
            return None
        return path, start, stop

    def past_arguments(self, path, at):
        """Past the arguments of a macro, if any follow its name."""
        text, depth, i = self.files[path], 0, at
        if not text[i:].lstrip().startswith("("):
            return at
        while i < len(text):
            depth += {"(": 1, ")": -1}.get(text[i], 0)
            i += 1
            if depth == 0 and text[i - 1] == ")":
                return i
        return at

    def text(self, node):
        where = self.extent(node)
        return self.files[where[0]][where[1]:where[2]] if where else None

    def within_macro(self, node):
        """A node that comes from the body of one macro as a whole."""
        span = node.get("range", {})
        begin, end = (self.place(span.get(k, {})) for k in ("begin", "end"))
        return not begin or not end or (begin[3] is not None and begin[3] == end[3])

    def point(self, node, kind, class_="rest", extra=None):
        where = extra or self.extent(node)
        if where is None or self.within_macro(node):
            return None
        key = where + (kind, class_)
        if key not in self.points:
            path, start, end = where
            self.points[key] = Point(path, self.function, class_, kind, start, end,
                                     self.files[path][start:end])
        return self.points[key]

    # -- The walk --

    def walk(self, node, parent=None):
        kind = node.get("kind")
        if kind in CONSTANT or (kind == "VarDecl" and
                                (self.function is None or node.get("storageClass") == "static")):
            return
        if kind == "FunctionDecl":
            if not any(c.get("kind") == "CompoundStmt" for c in node.get("inner", [])):
                return
            self.function, self.assigned, self.locks = node["name"], {}, {}
            self.result = node["type"]["qualType"].split("(")[0].strip()
        visit = getattr(self, "visit_" + (kind or "none"), None)
        if visit and self.function:
            visit(node, parent)
        for child in node.get("inner", []):
            if isinstance(child, dict):
                self.walk(child, node)
        if kind == "FunctionDecl":
            self.pair_locks()
            self.function = None

    def visit_BinaryOperator(self, node, parent):
        op = node["opcode"]
        left, right = node["inner"]
        if op == "=":
            self.note_assigned(callee_text(self, left), right)
            self.drop_value(right)
            return
        lt, rt = self.text(left), self.text(right)
        where, l, r = self.extent(node), self.extent(left), self.extent(right)
        if not (where and l and r) or where[:2] != l[:2] or where[2] != r[2]:
            return
        if plain(self.files[where[0]][l[2]:r[1]]) != op:
            return
        p = self.point(node, "expr")
        if p is None:
            return
        pointers = "*" in left["type"]["qualType"] + right["type"]["qualType"]
        for other in RELATIONAL.get(op, ()):
            p.add("relational", "(%s) %s (%s)" % (lt, other, rt))
        if op in ("&&", "||"):
            p.add("boolean", "(%s) %s (%s)" % (lt, "||" if op == "&&" else "&&", rt))
            p.add("boolean", "!!(%s)" % lt)
            p.add("boolean", "!!(%s)" % rt)
        if op in ARITHMETIC and not pointers:
            p.add("arithmetic", "(%s) %s (%s)" % (lt, ARITHMETIC[op], rt))

    def visit_CompoundAssignOperator(self, node, parent):
        lt, rt = (self.text(c) for c in node["inner"])
        other = ASSIGNING.get(node["opcode"])
        if lt and rt and other and "*" not in node["type"]["qualType"]:
            p = self.point(node, "expr")
            if p:
                p.add("arithmetic", "%s %s %s" % (lt, other, rt))

    def visit_UnaryOperator(self, node, parent):
        op, inner = node["opcode"], self.text(node["inner"][0])
        if op not in ("++", "--", "!", "~", "-") or not inner:
            return
        if op in ("++", "--") and "*" in node["type"]["qualType"]:
            return
        p = self.point(node, "expr")
        if p is None:
            return
        if op in ("++", "--"):
            other = "--" if op == "++" else "++"
            p.add("arithmetic", inner + other if node.get("isPostfix") else other + inner)
        elif op == "!":
            p.add("boolean", "!!(%s)" % inner)
        else:
            p.add("arithmetic", "(%s)" % inner)

    def visit_IntegerLiteral(self, node, parent):
        if parent.get("castKind") == "NullToPointer":
            return
        text = self.text(node)
        if not text or not re.match(r"\d", text):
            return
        p = self.point(node, "expr")
        if p:
            value = int(re.sub(r"[uUlL]+$", "", text), 0)
            p.add("constant", "(%s + 1)" % text)
            if value > 0:
                p.add("constant", "(%s - 1)" % text)
            if value > 1:
                p.add("constant", "(%s * 0)" % text)

    def visit_CallExpr(self, node, parent):
        """Neighboring arguments of one type, swapped."""
        callee, *args = node["inner"]
        texts = [self.text(a) for a in args]
        name = self.text(callee)
        if not name or None in texts or self.within_macro(node):
            return
        for i in range(len(args) - 1):
            if args[i]["type"] == args[i + 1]["type"] and plain(texts[i]) != plain(texts[i + 1]):
                swapped = texts[:i] + [texts[i + 1], texts[i]] + texts[i + 2:]
                kind = "stmt" if node["type"]["qualType"] == "void" else "expr"
                p = self.point(node, kind + str(i), extra=self.statement(node)
                               if kind == "stmt" else None)
                if p:
                    p.add("arguments", "%s(%s)" % (name, ", ".join(texts_plain(swapped))))

    def visit_IfStmt(self, node, parent):
        condition = node["inner"][0]
        bare = strip(condition)
        text = self.text(condition)
        p = text and self.point(condition, "expr")
        if p:
            if bare.get("kind") not in ("BinaryOperator", "UnaryOperator"):
                p.add("boolean", "!(%s)" % text)
            p.add("condition", "1")
            if node.get("hasElse") or not leaves(node["inner"][1]):
                p.add("condition", "0")  # else it is the check left out
        if not node.get("hasElse") and leaves(node["inner"][1]):
            class_ = "check" if self.tests_call(condition) else "rest"
            p = self.point(node, "stmt", class_, self.statement(node))
            if p:
                p.add("delete check", "")

    def visit_ReturnStmt(self, node, parent):
        if not node.get("inner"):
            return
        value = node["inner"][0]
        text = self.text(value)
        self.drop_value(value)
        if not text or self.within_macro(value):
            return
        if self.result == "bool":
            if strip(value).get("opcode") in list(RELATIONAL) + ["!"]:
                return  # turned round for what it is
            other = "!(%s)" % text
        elif re.match(r"^(unsigned )?(int|long|size_t)$|^u?int\d+_t$|_t$", self.result) \
                and plain(text) not in ("0", "(0)"):
            other = "0"
        elif "*" in self.result and plain(text) != "NULL":
            other = "NULL"
        else:
            return
        p = self.point(value, "expr")
        if p:
            p.add("return", other)

    def visit_CompoundStmt(self, node, parent):
        for child in node.get("inner", []):
            self.delete(child)

    def visit_ForStmt(self, node, parent):
        """A body that is one statement; of `case` and `default`, the first statement."""
        body = node["inner"][-1]
        if body.get("kind") != "CompoundStmt":
            self.delete(body)

    visit_WhileStmt = visit_CaseStmt = visit_DefaultStmt = visit_ForStmt

    # -- Statements --

    def statement(self, node):
        """The extent of a statement with the semicolon that ends it."""
        where = self.extent(node)
        if where is None:
            return None
        path, start, end = where
        text = self.files[path]
        if text[end - 1] in "};" and node.get("kind") not in EXPRESSIONS:
            return where
        rest = re.match(r"\s*;", text[end:])
        return (path, start, end + rest.end()) if rest else None

    def delete(self, node):
        kind = node.get("kind")
        if kind == "IfStmt":
            for branch in node["inner"][1:]:
                # Of `if (x) return;` the whole is deleted.
                alone = branch.get("kind") in LEAVES and not node.get("hasElse")
                if branch.get("kind") not in ("CompoundStmt", "IfStmt") and not alone:
                    self.delete(branch)
            return
        if kind in ("BreakStmt", "ContinueStmt"):
            p = self.point(node, "stmt", "rest", self.statement(node))
            if p:
                p.add("delete statement", "")
            return
        if kind == "ReturnStmt" and not node.get("inner"):
            p = self.point(node, "stmt", "rest", self.statement(node))
            if p:
                p.add("delete statement", "")
            return
        bare = strip(node)
        if bare.get("kind") not in EXPRESSIONS or self.within_macro(node):
            return
        where = self.statement(node)
        if where is None:
            return
        class_, name = "rest", None
        if bare["kind"] == "CallExpr":
            name = self.text(bare["inner"][0])
            class_ = next((c for c, pattern in CALLS if re.search(pattern, name or "")), "rest")
        p = self.point(node, "stmt", class_, where)
        if p is None:
            return
        p.add("delete " + (class_ if class_ != "rest" else "statement"), "")
        if class_ == "lock" and not name.startswith("host_epoch"):
            self.locks.setdefault(plain(self.text(bare["inner"][1])), []).append(where)
        if class_ == "lock" and name.startswith("host_epoch"):
            self.locks.setdefault("epoch", []).append(where)
        if name in WEAKER and len(bare["inner"]) == 3:
            word, value = (self.text(a) for a in bare["inner"][1:])
            weaker = WEAKER[name]
            weaker = weaker % ((word + ", " + value) if weaker.count("%") == 1
                               else (word, word, value))
            # An exchange whose value nobody wants is there for the fence that it is.
            p = self.point(node, "weaker", "fence" if name == "host_xchg" else "rest", where)
            if p:
                p.add("weaken", weaker + ";")

    def pair_locks(self):
        """A lock that is neither taken nor released in a function: no check of balance helps."""
        for places in self.locks.values():
            if len(places) < 2:
                continue
            path, start, end = places[0]
            key = (path, start, end, "pair", "lock")
            if key in self.points:
                continue
            p = Point(path, self.function, "lock", "stmt", start, end,
                      self.files[path][start:end])
            p.places = [(s, e) for _, s, e in places]
            p.choices.append(("delete lock and unlock", ""))
            self.points[key] = p

    # -- What calls returned --

    def visit_VarDecl(self, node, parent):
        if node.get("init") and node.get("inner"):
            self.note_assigned(node["name"], node["inner"][-1])
            self.drop_value(node["inner"][-1])

    def note_assigned(self, name, value):
        if name:
            self.assigned[plain(name)] = self.can_fail(strip(value))

    def can_fail(self, node):
        """Whether this is a call that does something, and returns whether it could."""
        if node.get("kind") != "CallExpr":
            return False
        name = self.text(node["inner"][0]) or ""
        type_ = node["type"]["qualType"]
        return not re.search(PREDICATES, name) and (type_ in ("int", "bool") or "*" in type_)

    def drop_value(self, value):
        """`x = f()` that takes f() to have succeeded."""
        bare = strip(value)
        text = self.text(value)
        if bare.get("kind") != "CallExpr" or not text or self.within_macro(value):
            return
        type_ = bare["type"]["qualType"]
        if type_ in ("int", "bool"):
            p = self.point(value, "drop", "rest")
            if p:
                p.add("drop value", "(%s, %s)" % (text, "0" if type_ == "int" else "1"))

    def tests_call(self, condition):
        """Whether a condition asks what a call has returned."""
        todo = [condition]
        while todo:
            node = todo.pop()
            if self.can_fail(node):
                return True
            if node.get("kind") == "DeclRefExpr" and \
                    self.assigned.get(node.get("referencedDecl", {}).get("name")):
                return True
            todo += [c for c in node.get("inner", []) if isinstance(c, dict)]
        return False


def strip(node):
    """What is inside casts and parentheses."""
    while node.get("kind") in ("ImplicitCastExpr", "ParenExpr", "CStyleCastExpr"):
        node = node["inner"][-1]
    return node


def leaves(node):
    """A statement that does nothing but leave, or cleans up and then leaves."""
    if node.get("kind") == "CompoundStmt":
        inner = node.get("inner", [])
        return bool(inner) and inner[-1].get("kind") in LEAVES
    return node.get("kind") in LEAVES


def callee_text(reader, node):
    return reader.text(node)


def texts_plain(texts):
    return [plain(t) for t in texts]


def find(compiler, flags, root, sources, files):
    """All points of the sources, in the order of the files."""
    reader = Reader(files)
    for source in sources:
        reader.walk(parse(compiler, flags, root, source))
    found = [p for p in reader.points.values() if p.choices]
    return sorted(found, key=lambda p: (p.path, p.start, -p.end, p.kind, p.class_))
