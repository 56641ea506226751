# The variants of an experiment file beside each other.
def trainings_of(wildcards):
    """What the trainings of all variants wrote of themselves."""
    return [
        f"results/{experiment.name}/models/{method}/estimator.json"
        for experiment in COMPARED[wildcards.study]
        for method in experiment.trained()
    ]


def compared_on(wildcards):
    """What of the configurations shows in the comparison."""
    return [
        {
            "groups": experiment.groups(),
            "published": {
                name: method.published_log_score
                for name, method in experiment.methods.items()
            },
            **experiment.slice("window", "cycles", "burn_in"),
        }
        for experiment in COMPARED[wildcards.study]
    ]


rule scaling:
    input:
        metrics=lambda wildcards: [
            f"results/{experiment.name}/metrics.nc"
            for experiment in COMPARED[wildcards.study]
        ],
        trainings=trainings_of,
    output:
        dataset="results/{study}/scaling.nc",
        table=report(
            "results/{study}/scaling.csv",
            caption="../report/scaling.rst",
            category="{study}",
            labels={"figure": "table of all variants", "format": "csv"},
        ),
        vector=report(
            "results/{study}/figures/scaling.svg",
            caption="../report/scaling.rst",
            category="{study}",
            labels={"figure": "scaling", "format": "svg"},
        ),
        raster="results/{study}/figures/scaling.png",
    log:
        "results/{study}/logs/scaling.log",
    benchmark:
        "results/{study}/benchmarks/scaling.tsv"
    wildcard_constraints:
        study="|".join(COMPARED) or "$",
    params:
        file=lambda wildcards: FILES[COMPARED[wildcards.study][0].name].rpartition(
            "/"
        )[0],
        depends=compared_on,
        code=code("scaling"),
    message:
        "scaling: all variants of {wildcards.study}"
    shell:
        "{POSTERITY} scaling {params.file} --results results --output {output.dataset} --table {output.table}"
        " --figure {output.vector} > {log} 2>&1"
