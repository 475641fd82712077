"""What the source may not do, found in its syntax."""

import ast
from collections.abc import Iterator
from pathlib import Path

import blursynth
from faults.runner import Trial

__all__ = ["find_forbidden", "source_trial"]

_FORBIDDEN_CALLS = {
    "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "marshal.load", "marshal.loads", "shelve.open", "eval", "exec", "compile", "cv2.imwrite", "cv2.VideoCapture",
    "torch.save", "torch.hub.load", "tempfile.mktemp", "yaml.load",
}  # fmt: skip
_FORBIDDEN_VALUES = {("shell", True), ("weights_only", False), ("allow_pickle", True)}


def find_forbidden(text: str) -> Iterator[str]:
    """Tell what stands in a text of Python that ours may not hold, with the line's number.

    No shell, no pickle, no code made of text, no writer that could leave half a file under its final name.
    """
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in _FORBIDDEN_CALLS:
            yield f"line {node.lineno}: {name}"
        for keyword in node.keywords:
            if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in _FORBIDDEN_VALUES:
                yield f"line {node.lineno}: {ast.unparse(keyword)}"
        is_plain_load = name == "torch.load" and not any(keyword.arg == "weights_only" for keyword in node.keywords)
        if is_plain_load:
            yield f"line {node.lineno}: torch.load without weights_only"


def source_trial() -> Trial:
    """Look through every file of ours."""
    root = Path(blursynth.__file__).parent
    paths = sorted({path.resolve() for folder in (root, root / "model") for path in folder.rglob("*.py")})
    faults = [f"{path.name}, {found}" for path in paths for found in find_forbidden(path.read_text(encoding="utf-8"))]
    promise = "no shell, no pickle, no code out of text, no writer past files.py"
    return Trial("security", "the source itself", promise, len(paths), tuple(faults))
