# Results that were cut off since they were made are made again, with what is made of them.
from types import SimpleNamespace

from snakemake.io import IOFile
from snakemake.persistence.file import FilePersistence


def mark_incomplete():
    """Tells Snakemake of results that are not whole as of those that a job was making when it was killed."""
    from posterity.experiment.whole import damaged

    for name in ASKED:
        if files := damaged(EXPERIMENTS[name], Path("results")):
            for file in files:
                print(f"{file}: is not whole, and is made again", file=sys.stderr)
            # As `--directory` has it: `.snakemake` is in the working directory.
            FilePersistence(nolock=True).started(
                SimpleNamespace(output=[IOFile(str(file)) for file in files])
            )


# Jobs of this workflow and its second pass are told what they make; another workflow has files of its own.
if workflow.is_main_process and not LOST and workflow.modifier.is_main_snakefile():
    mark_incomplete()
