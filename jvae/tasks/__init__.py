"""Kinds of work by name, imported when they are asked for."""

import importlib

from jvae.configs import check_name
from jvae.runs.task import Task

# Name -> module, and the name of its `Task` there.
TASKS: dict[str, tuple[str, str]] = {
    "text": ("jvae.tasks.text.task", "TEXT"),
    "documents": ("jvae.tasks.documents.task", "DOCUMENTS"),
}


def get_task(name: str) -> Task:
    """Returns a task.

    Raises:
      UserError: there is none of this name.
    """
    check_name("task", name, TASKS)
    module, attribute = TASKS[name]
    task: Task = getattr(importlib.import_module(module), attribute)
    return task
