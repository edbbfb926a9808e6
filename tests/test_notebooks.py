"""The notebooks are their paired text, and they run."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_holds_the_cells_of_its_text(source):
    import jupytext

    text = jupytext.read(source)
    notebook = jupytext.read(source.with_suffix(".ipynb"))
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in text.cells]
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize(
    ("repository", "installed"),
    [
        ("git+https://...", None),
        ("git+https://host/owner/jvae", "jvae{} @ git+https://host/owner/jvae"),
        ("{folder}", None),
        ("{source}", "{source}{}"),
    ],
)
def test_colab_installs_jvae_from_where_it_is_told(repository, installed, tmp_path, monkeypatch):
    import jupytext

    cells = jupytext.read(NOTEBOOKS[0].parent / "colab_tpu.py").cells
    [cell] = [cell.source for cell in cells if "REPOSITORY =" in cell.source]
    repository = repository.format(folder=tmp_path, source=NOTEBOOKS[0].parent.parent)
    line = 'REPOSITORY = "git+https://..."'
    assert line in cell
    commands = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("subprocess.run", lambda command, check: commands.append(command))
    cell = cell.replace(line, f"REPOSITORY = {repository!r}")
    if installed is None:
        with pytest.raises(SystemExit, match="REPOSITORY"):
            exec(cell, {})
        assert commands == []
    else:
        exec(cell, {})
        wanted = commands[0][-1]
        extras = [installed.format(x, source=repository) for x in ("", "[tpu]", "[cuda]")]
        assert wanted in extras


@pytest.mark.slow
@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_runs(source, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
    errors = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert not errors
