def shown(wildcards):
    """What the figure is given."""
    target = catalog.target("figure", wildcards.figure)
    return {parameter.name for parameter in sources.parameters(target)}


def reference_shown(wildcards):
    """The reference of the first test shard, if there is one and the figure shows it, or what takes its place."""
    experiment, wanted = of(wildcards), shown(wildcards)
    if "standard" in wanted and experiment.reference is None:
        return f"results/{wildcards.experiment}/posteriors/{experiment.weighted_prior()}/0.nc"
    return reference_of("0")(wildcards) if wanted & {"reference", "standard"} else []


def draws_shown(wildcards):
    """The draws of methods in the first test shard, for figures that show draws; of a group the first's."""
    return expand(
        "results/{experiment}/posteriors/{method}/0.nc",
        experiment=wildcards.experiment,
        method=of(wildcards).shown() if "posteriors" in shown(wildcards) else [],
    )


def histories_shown(wildcards):
    """The histories of all trainings, for figures that show them."""
    return expand(
        "results/{experiment}/models/{method}/history.jsonl",
        experiment=wildcards.experiment,
        method=of(wildcards).trained() if "histories" in shown(wildcards) else [],
    )


def appearance(wildcards):
    """What of the configuration shows in a figure."""
    experiment = of(wildcards)
    labels = {name: method.label for name, method in experiment.methods.items()}
    return {
        **experiment.slice("figures", "window", "cycles", "burn_in"),
        "labels": labels,
        "groups": experiment.groups(),
    }


rule plot:
    input:
        twin="results/{experiment}/simulations/test/0.nc",
        metrics="results/{experiment}/metrics.nc",
        posteriors=draws_shown,
        reference=reference_shown,
        histories=histories_shown,
    output:
        vector=report(
            "results/{experiment}/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="{experiment}",
            labels={"figure": "{figure}", "format": "svg"},
        ),
        raster="results/{experiment}/figures/{figure}.png",
    log:
        "results/{experiment}/logs/plot/{figure}.log",
    benchmark:
        "results/{experiment}/benchmarks/plot/{figure}.tsv"
    params:
        file=file_of,
        posteriors=lambda wildcards, input: (
            f"--posterior {input.posteriors}" if input.posteriors else ""
        ),
        reference=lambda wildcards, input: (
            f"--reference {input.reference}" if input.reference else ""
        ),
        histories=lambda wildcards, input: (
            f"--history {input.histories}" if input.histories else ""
        ),
        depends=appearance,
        code=code("plot", figure_code),
    message:
        "plot: {wildcards.figure} of {wildcards.experiment}"
    shell:
        "{POSTERITY} plot {params.file} --figure {wildcards.figure} --twin {input.twin} --metrics {input.metrics}"
        " {params.posteriors} {params.reference} {params.histories} --output {output.vector} > {log} 2>&1"
