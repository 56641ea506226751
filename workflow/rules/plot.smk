rule plot:
    input:
        twin="results/{experiment}/simulations/test/0.nc",
        metrics="results/{experiment}/metrics.nc",
        posteriors=draws_shown,
        reference=reference_shown,
        histories=histories_shown,
    output:
        vector="results/{experiment}/figures/{figure}.svg",
        raster="results/{experiment}/figures/{figure}.png",
    log:
        "results/{experiment}/logs/plot/{figure}.log",
    benchmark:
        "results/{experiment}/benchmarks/plot/{figure}.tsv"
    wildcard_constraints:
        figure="|".join(set(catalog.names("figure")) - MOVING) or "$",
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        depends=depends_on("plot"),
    message:
        "plot: {wildcards.figure} of {wildcards.experiment}"
    shell:
        "posterity plot {params.file:q} --figure {wildcards.figure} --twin {input.twin:q} --metrics {input.metrics:q}"
        " --posterior {input.posteriors:q} --reference {input.reference:q} --history {input.histories:q} --output {output.vector:q} > {log:q} 2>&1"


# Of figures that move there is a picture for print, too.
use rule plot as animate with:
    output:
        vector="results/{experiment}/figures/{figure}.svg",
        raster="results/{experiment}/figures/{figure}.png",
        moving="results/{experiment}/figures/{figure}.gif",
    wildcard_constraints:
        figure="|".join(MOVING) or "$",
