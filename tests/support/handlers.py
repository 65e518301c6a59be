"""Small handlers, written into a folder of their own when a test needs one."""

import textwrap


def write(folder, source, requirements="runpod\n", **files):
    """A project with `source` as its handler; `files` are further ones, by name with `__` for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "handler.py").write_text(textwrap.dedent(source).lstrip())
    if requirements is not None:
        (folder / "requirements.txt").write_text(requirements)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder
