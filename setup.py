"""What pyproject.toml cannot say: a package takes along the experiments, the revision that it was built of, a manual.

`pip install --editable` takes none of it: mnbed finds the experiments and the revision in its checkout, and install.sh
installs the manual.
"""

from __future__ import annotations

import runpy
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

SOURCE = Path(__file__).resolve().parent
# Nothing that lies in the current folder may be imported in place of the source beside this file.
sys.path.insert(0, str(SOURCE))

from mnbed.run.revision import RECORD, git_revision  # noqa: E402 - see above


def record_revision(folder: Path) -> None:
    """Below `folder`, for the package that is made there; nothing where nobody knows the revision."""
    revision = git_revision(SOURCE)
    if revision is not None:
        (folder / RECORD).write_text(f"{revision}\n")


class BuildPython(build_py):
    """The packages, with what mnbed looks for in a checkout otherwise."""

    def run(self) -> None:
        folder = Path(self.build_lib)
        if not self.editable_mode:
            # What an earlier build left there, such as modules that are no more, would go into the package.
            shutil.rmtree(folder, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            shutil.copytree(
                SOURCE / "experiments",
                folder / "mnbed" / "ready_made",
                ignore=lambda _, names: [
                    name for name in names if "." in name and not name.endswith(".yaml")
                ],
                dirs_exist_ok=True,
            )
            record_revision(folder)


# setuptools has no module of its own for it.
install_data = Distribution().get_command_class("install_data")


class InstallData(install_data):
    """The manual, made from the help texts."""

    def run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "mnbed.1"
            page.write_text(runpy.run_path(str(SOURCE / "docs" / "make_manual.py"))["manual"]())
            self.data_files = [("share/man/man1", [str(page)])]
            super().run()


class SourceDistribution(sdist):
    """The source, with the revision in place of the .git folder."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        record_revision(Path(base_dir))


setup(
    cmdclass={"build_py": BuildPython, "install_data": InstallData, "sdist": SourceDistribution},
    # Known only once it is made; it must not be empty, or setuptools leaves its command out.
    data_files=[("share/man/man1", [])],
)
