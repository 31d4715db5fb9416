# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The lab's modules import one another in one direction, those imported inside functions too."""

import ast
import graphlib
from pathlib import Path

LAB = Path(__file__).resolve().parents[3] / "extensions" / "lab"


def test_no_circle():
    files = {file.stem: file for file in LAB.rglob("*.py") if file.stem != "__init__"}
    imports = {name: set() for name in files}
    for name, file in files.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                imports[name].add(node.module.rpartition(".")[2])
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                imports[name].update(one.name.rpartition(".")[2] for one in node.names)
    assert {"scenario", "world"} <= imports["emulated_host"]
    graph = {name: found & set(files) - {name} for name, found in imports.items()}
    graphlib.TopologicalSorter(graph).prepare()
