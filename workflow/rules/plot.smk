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
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        depends=depends_on("plot"),
    message:
        "plot: {wildcards.figure} of {wildcards.experiment}"
    shell:
        "python -m posterity plot {params.file} --figure {wildcards.figure} --twin {input.twin} --metrics {input.metrics}"
        " --posterior {input.posteriors} --reference {input.reference} --history {input.histories} --output {output.vector} > {log} 2>&1"
