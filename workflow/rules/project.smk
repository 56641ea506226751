# Where the project is: beside the Snakefile or, where that comes from a repository, in a copy of its commit.
import sys
import tarfile
import tempfile
from pathlib import Path


def project(rules):
    """The folder of the project, given the source of this one, and its package ready to be imported."""
    if hasattr(rules, "hosted_repo"):
        folder = commit_of(rules.hosted_repo.repo_clone, rules.ref)
    elif hasattr(rules, "repo_path"):
        folder = commit_of(rules.repo_path, rules.ref)
    else:
        folder = Path(rules.get_path_or_uri(secret_free=True)).parents[1]
    # The package of this very version, whatever is installed.
    if (package := str(folder / "src")) not in sys.path:
        sys.path.insert(0, package)
    return folder


def commit_of(repository, ref):
    """A copy of a commit, which is kept in Snakemake's cache."""
    from git import Repo

    repo = Repo(repository)
    commit = repo.git.rev_parse("--verify", f"{ref}^{{commit}}")
    folder = Path(workflow.sourcecache.cache_path, "posterity", commit)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        if not folder.is_dir():
            with open(Path(made, "tar"), "w+b") as archive:
                repo.archive(archive, commit)
                archive.seek(0)
                tarfile.open(fileobj=archive).extractall(
                    Path(made, "files"), filter="data"
                )
            try:
                Path(made, "files").rename(folder)
            except OSError:
                # Another process was faster.
                if not folder.is_dir():
                    raise
    return folder


PROJECT = project(workflow.current_basedir)
