"""The command line: help, lists, several files after one option, and errors without a traceback."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

import posterity
from posterity import cli
from posterity.experiment import catalog, every, files, load
from posterity.experiment.listing import listing
from posterity.tasks.running.progress import clock

VERBS = (
    "simulate", "train", "sample", "classify", "assimilate", "evaluate", "aggregate", "plot", "reference", "scaling",
    "literature", "report", "check", "list", "show", "run", "new", "import", "why", "climatology", "estimate",
)  # fmt: skip

STUDY = {
    "title": "A study",
    "system": {"kind": "linear", "options": {"size": 4}},
    "observation": {"std": 1},
    "prior": {"std": 1},
    "window": 2,
    "forecast": 1,
    "splits": {"train": {"cases": 8}, "valid": {"cases": 4}, "test": {"cases": 3, "shard": 2}},
    "samples": 5,
    "methods": {"prior": {"kind": "prior", "samples": 7}, "npe": {"kind": "npe", "training": {}}},
}


@pytest.fixture
def study(tmp_path):
    """Writes the study, with some keys replaced, and returns its path."""

    def written(**changes: object) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
        return path

    return written


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line in this process; returns its status, what it printed, and its errors."""

    def ran(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["posterity", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        status = 0
        try:
            cli.main()
        except SystemExit as left:
            status = int(left.code or 0)
        return status, *capsys.readouterr()

    return ran


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "posterity", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{posterity.__version__}\n")


def test_the_verbs_are_those_of_the_workflow() -> None:
    assert sorted(typer.main.get_command(cli.app).commands) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_does_with_an_example_that_parses(run, verb) -> None:
    status, said, _ = run(verb, "--help")
    assert status == 0
    flat = " ".join(re.sub(r"[│╭╮╰╯─]", " ", said).split())
    command = typer.main.get_command(cli.app).commands[verb]
    assert command.help.rstrip() in flat
    assert command.epilog in flat
    example = command.epilog.removeprefix("Example: posterity ").split()
    assert example[0] == verb
    # Parsed as it would be, without being run.
    context = command.make_context(verb, cli.expanded(example)[1:])
    assert "..." not in command.epilog
    if "experiment" in context.params:
        name, _, variant = context.params["experiment"].partition("/")
        path = Path(__file__).parents[1] / f"config/experiments/{name}.yaml"
        assert list(every(path / variant if variant else path))


def test_help_begins_with_what_people_give_and_ends_with_what_the_workflow_gives(run) -> None:
    said = run("--help")[1]
    verbs = re.findall(r"^│ (\w+) {2,}\w", said, flags=re.MULTILINE)
    assert set(verbs) == set(VERBS)
    assert verbs[:4] == ["run", "new", "import", "check"]
    assert said.index("A study") < said.index("Look around") < said.index("Stages, which the workflow runs")


def test_every_option_says_what_it_is() -> None:
    for command in typer.main.get_command(cli.app).commands.values():
        for parameter in command.params:
            assert parameter.help, f"{command.name} {parameter.name}"


@pytest.mark.parametrize(
    ("given", "expanded"),
    [
        ("train demo --train a b c --valid d", "train demo --train a --train b --train c --valid d"),
        ("train --train a b --output o demo", "train --train a --train b --output o demo"),
        ("aggregate --classifier a b --output o", "aggregate --classifier a --classifier b --output o"),
        ("aggregate demo --metrics a b --output c", "aggregate demo --metrics a --metrics b --output c"),
        ("plot demo --posterior a b --metrics m", "plot demo --posterior a --posterior b --metrics m"),
        ("--quiet plot demo --posterior a b", "--quiet plot demo --posterior a --posterior b"),
        # The workflow gives optional files as they are, even if there are none.
        ("evaluate demo --reference --output o", "evaluate demo --output o"),
        ("plot demo --posterior --reference r --history", "plot demo --reference r"),
        ("aggregate demo --metrics a b --classifier --output c", "aggregate demo --metrics a --metrics b --output c"),
        ("train demo --train --valid d", "train demo --train --valid d"),
        # Elsewhere these options take one file, and what follows it is an argument.
        ("evaluate --posterior a demo", "evaluate --posterior a demo"),
        ("plot --metrics m demo", "plot --metrics m demo"),
        ("check demo", "check demo"),
        ("", ""),
    ],
)
def test_an_option_of_files_takes_several(given, expanded) -> None:
    assert cli.expanded(given.split()) == expanded.split()


@pytest.mark.parametrize("group", list(catalog.CATALOG))
def test_every_group_can_be_listed(run, group) -> None:
    uncommon = {"family": "families", "ratio_loss": "ratio_losses", "spectrum": "spectra", "stimulus": "stimuli"}
    plural = uncommon.get(group, f"{group}s")
    status, said, _ = run("list", plural)
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()] == list(catalog.names(group))
    assert all(len(line.split()) > 2 for line in said.splitlines())
    assert plural in run("list")[1].split()


def test_experiments_are_listed_with_their_titles(run, study, monkeypatch) -> None:
    monkeypatch.setattr(files, "EXPERIMENTS", study().parent)
    assert run("list", "experiments")[:2] == (0, f"{'study':<32} A study\n")


def test_a_broken_file_does_not_hide_the_other_experiments(run, study, monkeypatch) -> None:
    folder = study().parent
    (folder / "broken.yaml").write_text("title: [")
    monkeypatch.setattr(files, "EXPERIMENTS", folder)
    status, said, _ = run("list", "experiments")
    assert status == 0
    assert said.splitlines()[0].startswith(f"{'broken':<32} (does not load) {folder / 'broken.yaml'}: is not YAML")
    assert said.splitlines()[-1] == f"{'study':<32} A study"


def test_without_experiments_the_folder_that_was_searched_is_named(run, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = f"error: there are no experiments in {tmp_path / files.EXPERIMENTS}; run it where your project is\n"
    assert run("list", "experiments")[::2] == (2, message)


def test_an_unknown_list_names_the_nearest(run) -> None:
    assert run("list", "sistems")[::2] == (2, "error: there are no 'sistems'; did you mean 'systems'?\n")


def test_a_list_names_papers_and_fits_its_terminal(run) -> None:
    lines = dict(line.split(maxsplit=1) for line in run("list", "methods")[1].splitlines())
    assert lines["4dvar"] == "4DVAR, with draws from its Laplace approximation [Le Dimet & Talagrand, 1986]"
    cut = list(listing("methods", 70))
    assert max(map(len, cut)) == 70
    assert "… [Jardak & Talagrand, 2018]" in "\n".join(cut)


def test_an_entry_is_shown_with_options_units_and_papers(run) -> None:
    status, said, _ = run("show", "hodgkin-huxley")
    assert status == 0
    assert "state: voltage, m, h, n, p, in mV; gates: 1" in said
    assert "time:  in ms" in said
    assert "capacitance (float, may be unknown; default 1.0)\n        The capacitance C, in µF/cm²" in said
    assert "Pospischil" in said
    assert "flow (posterity list flows; default none)" in run("show", "npe")[1]
    assert "methods: {mine: {kind: npe, options: {context: 8}, training: {}}}" in run("show", "npe")[1]


def test_a_name_of_several_groups_is_shown_in_all_or_in_one(run) -> None:
    heads = [line for line in run("show", "importance")[1].splitlines() if line[:1].isalpha()]
    assert heads == ["importance (method)", "importance (ratio_sampler)", "importance (refinement)"]
    assert run("show", "importance", "--group", "refinements")[1].splitlines()[0] == "importance (refinement)"
    assert run("show", "importance", "--group", "refinemnts")[2].endswith("did you mean 'refinements'?\n")
    assert "did you mean 'etkf'?" in run("show", "etkff")[2]


def test_an_experiment_is_shown_with_what_its_verdict_would_be_of(run, study, tmp_path) -> None:
    path = study()
    status, said, _ = run("show", path, "--results", tmp_path)
    assert status == 0
    assert "It would rank 2 methods by CRPS at the window end, over 3 cases:\n  prior, npe\n" in said
    verdict = {"score": "", "moment": "", "cases": 3, "floor": None, "units": "", "won": "All won.", "distrust": "All."}
    method = {"method": "prior", "place": 0, "score": None, "error": None, "c2st": None, "seconds": None, "test": ""}
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "verdict.json").write_text(json.dumps(verdict | {"methods": [method | {"calibrated": None}]}))
    assert run("show", path, "--results", tmp_path)[1].splitlines()[-2:] == ["All won.", "All."]


def test_completion_knows_experiments_methods_groups_and_entries(run, study, monkeypatch) -> None:
    path = study()
    monkeypatch.setattr(files, "EXPERIMENTS", path.parent)

    def completed(*words: str) -> list[str]:
        """What a shell would offer for the last word."""
        monkeypatch.setenv("_POSTERITY_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(("posterity", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        return run()[1].split()

    assert completed("check", "st") == ["study"]
    assert completed("assimilate", "study", "--method", "") == ["prior", "npe"]
    assert completed("list", "mas") == ["masks"]
    assert completed("check", "nothing") == completed("assimilate", "nothing", "--method", "") == []
    assert completed("plot", "study", "--figure", "cov") == ["covariance", "coverage"]
    assert completed("show", "etk") == ["etkf"]
    assert completed("show", "st") == ["step", "stations", "strided", "state", "study"]


def test_check_says_what_the_experiment_is(run, study) -> None:
    path = study()
    status, said, _ = run("check", path)
    assert status == 0
    assert said.splitlines() == [
        f"{path}: A study",
        "  system       linear, states (1, 4), dt 0.5",
        "  observation  (1, 4) at each of 2 times; forecast 1",
        "  joint        background",
        "  train        8 cases in 1 shards",
        "  valid        4 cases in 1 shards",
        "  test         3 cases in 2 shards",
        "  method       prior (prior), 7 draws",
        "  method       npe (npe), 5 draws",
        # Simulations of train, valid and two shards of tests; draws and scores of both shards; the rest once.
        f"  jobs         {4 + 1 + 2 * 2 + 2 * 2 + 1 + len(load(path).figures_drawn())}",
    ]


def test_check_says_which_draws_are_copies(run, study) -> None:
    methods = {
        "smc": {"kind": "smc", "options": {"particles": 4}},
        "etkf": {"kind": "etkf", "options": {"members": 5}},
        "prior": {"kind": "prior"},
    }
    status, said, _ = run("check", study(methods=methods))
    assert status == 0
    assert said.splitlines()[-3:-1] == [
        "  method       prior (prior), 5 draws",
        "  note         smc: of 5 draws at most 4 differ",
    ]


def test_check_says_how_long_jobs_take_once_they_have_run(run, study, tmp_path, monkeypatch) -> None:
    path = study(methods={"prior": {"kind": "prior"}}, figures={"only": ["scores"]})
    monkeypatch.chdir(tmp_path)
    took = {"simulate/test/0": 2, "simulate/test/1": 4, "assimilate/prior/0": 10, "evaluate/prior/0": 1, "aggregate": 5}
    for name, seconds in took.items():
        file = tmp_path / "results" / "study" / "benchmarks" / f"{name}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"s\n{seconds}\n")
    assert run("check", path)[1].splitlines()[-1] == (
        f"  jobs         8; on one core {clock(2 * 3 + 2 * 10 + 2 * 1 + 5)} for 7 of them, as earlier runs took"
    )


def test_check_tells_all_that_is_wrong_at_once(run, study, tmp_path) -> None:
    methods = {
        "etkf": {"kind": "etkf", "options": {"members": 4}},
        "abc": {"kind": "abc", "options": {"trials": 5}},
        "prior": {"kind": "prior"},
    }
    status, said, error = run("check", study(methods=methods))
    assert (status, said) == (2, "")
    assert error.splitlines() == [
        "error: study: methods.etkf: samples: 5 asked of an ensemble of 4 members; raise members, or ask for fewer",
        "methods.abc: method 'abc': fraction: 0.001 of 5 trials keeps none; raise one of them",
    ]
    path = study(
        methods={"a": {"kind": "etfk"}, "b": {"kind": "abc", "options": {"trails": 5}}},
        observation={"std": 1, "mask": ["grod"]}, burn_in=3, figures={"only": ["scors"]},
    )  # fmt: skip
    lines = run("check", path)[2].removeprefix("error: ").splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == [
        "observation.mask.0", "figures.only", "burn_in", "methods.a", "methods.b.options",
    ]  # fmt: skip
    variants = {"one": {}, "two": {"window": "two"}, "three": {"samples": 0}}
    status, said, error = run("check", study(variants=variants))
    assert (status, said.count("A study")) == (2, 1)
    assert [line.rpartition(".yaml/")[2].partition(":")[0] for line in error.splitlines()] == ["two", "three"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"methods": {"learned": {"kind": "npe"}}},
            "methods.learned: npe is an estimator: say how to train it, at least 'training: {}'",
        ),
        (
            {"methods": {"guess": {"kind": "prior", "training": {}}}},
            "methods.guess: prior is not trained: remove 'training'",
        ),
        (
            {"system": {"kind": "lorenz96", "options": {"size": 3}}},
            "system 'lorenz96': size: Lorenz-96 needs at least 4 sites, not 3",
        ),
        (
            {"observation": {"std": 1, "operator": [{"kind": "pointwise", "options": {"function": "tnh"}}]}},
            "operator 'pointwise': function: torch has no pointwise function 'tnh' (try atan, tanh, exp, abs)",
        ),
        (
            {"observation": {"std": 1, "mask": [{"kind": "random", "options": {"fraction": 1.5}}]}},
            "mask 'random': fraction: must lie between 0 and 1, not 1.5",
        ),
        (
            {"methods": {"abc": {"kind": "abc", "options": {"trials": 5}}}},
            "methods.abc: method 'abc': fraction: 0.001 of 5 trials keeps none; raise one of them",
        ),
        (
            {
                "methods": {
                    "npe": {"kind": "npe", "training": {}},
                    "short": {
                        "refines": "npe",
                        "samples": 9,
                        "refinement": {"kind": "hmc", "options": {"chains": 2, "iterations": 4}},
                    },
                }
            },
            "study: methods.short: samples: 9 asked of the 8 that the chains keep; raise chains or iterations, "
            "or ask for fewer",
        ),
        (
            {"methods": {"etkf": {"kind": "etkf", "options": {"members": 4}}}},
            "study: methods.etkf: samples: 5 asked of an ensemble of 4 members; raise members, or ask for fewer",
        ),
    ],
)
def test_check_constructs_everything(run, study, changes, message) -> None:
    assert run("check", study(**changes)) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("assimilate STUDY --method pior --twin t.nc --output o.nc", "no method 'pior'; did you mean 'prior'?"),
        ("sample STUDY --method ne --weights w --twin t.nc --output o.nc", "no method 'ne'; did you mean 'npe'?"),
        ("train STUDY --method ne --train a.nc --valid b.nc --output o", "no method 'ne'; did you mean 'npe'?"),
        (
            "assimilate STUDY --method npe --twin t.nc --output o.nc",
            "--method: 'npe' is trained: use `posterity train`, then `posterity sample`",
        ),
        (
            "sample STUDY --method prior --weights w --twin t.nc --output o.nc",
            "--method: 'prior' is not trained: use `posterity assimilate`",
        ),
        (
            "train STUDY --method prior --train a.nc --valid b.nc --output o",
            "--method: 'prior' is not trained: use `posterity assimilate`",
        ),
        ("simulate STUDY --shard 2 --output o.nc", "the test split of 'study' has shards 0 to 1, no 2"),
        ("simulate STUDY --shard 0 --output o.nc --device gpu", "--device: must be cpu, cuda or auto, not 'gpu'"),
        ("plot STUDY --figure covrage --twin t --metrics m --output o", "unknown figure 'covrage'; did you mean 'cov"),
        ("check stdy", "there is no experiment 'stdy' (config/experiments/stdy.yaml does not exist)"),
    ],
)
def test_errors_name_what_is_wrong_without_a_traceback(run, study, arguments, message) -> None:
    path = study()
    status, said, error = run(*arguments.replace("STUDY", str(path)).split())
    assert (status, said) == (2, "")
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error


def test_errors_of_ours_are_not_hidden(run, study, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("posterity.tasks.check.load", broken)
    with pytest.raises(ZeroDivisionError):
        run("check", study())


def test_a_missing_option_is_named(run, study) -> None:
    status, _, error = run("simulate", study())
    assert status == 2
    assert "--output" in error


@pytest.mark.parametrize(
    "arguments",
    [
        "simulate STUDY --output STUDY",
        "train STUDY --method npe --train a.nc SAME --valid b.nc --output FOLDER",
        "sample STUDY --method npe --weights w --twin SAME --output SAME",
        "sample STUDY --method npe --weights FOLDER --twin t.nc --output SAME",
        "classify STUDY --method npe --weights FOLDER --output SAME",
        "assimilate STUDY --method prior --twin SAME --output LINK",
        "reference STUDY --twin LINK --output SAME",
        "evaluate STUDY --twin t.nc --posterior SAME --output SAME",
        "evaluate STUDY --twin t.nc --posterior p.nc --reference SAME --output SAME",
        "aggregate STUDY --metrics a.nc SAME --output SAME --table t.csv",
        "aggregate STUDY --metrics a.nc SAME --output o.nc --table SAME",
        "plot STUDY --figure scores --twin t.nc --metrics SAME --output SAME",
        "literature STUDY --metrics SAME --output SAME",
        "report STUDY --table SAME --output SAME",
        "report STUDY --table t.csv --figure a.svg SAME --output LINK",
    ],
)
def test_what_is_read_is_never_written(run, study, tmp_path, arguments) -> None:
    path, folder = study(), tmp_path / "folder"
    folder.mkdir()
    same, link = folder / "same.nc", tmp_path / "link.nc"
    same.write_text("observations")
    link.symlink_to(same)
    named = {"STUDY": path, "SAME": same, "LINK": link, "FOLDER": folder}
    before = {file: file.read_bytes() for file in (path, same)}
    status, _, error = run(*(named.get(word, word) for word in arguments.split()))
    assert status == 2
    assert "would be written over" in error
    assert {file: file.read_bytes() for file in before} == before


def test_two_outputs_of_one_path_are_refused(run, study) -> None:
    status, _, error = run(*f"aggregate {study()} --metrics a.nc --output o.nc --table ./o.nc".split())
    assert (status, "o.nc: is to be written twice" in error) == (2, True)
