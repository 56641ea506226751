# Asked for by name: `snakemake reports --config experiments=demo`, or `make report`.


rule report:
    input:
        table="results/{experiment}/table.csv",
        verdict="results/{experiment}/verdict.json",
        figures=figures_shown,
    output:
        "results/{experiment}/report.html",
    log:
        "results/{experiment}/logs/report.log",
    benchmark:
        "results/{experiment}/benchmarks/report.tsv"
    conda:
        "../../envs/posterity.yaml"
    params:
        file=file_of,
        depends=depends_on("report"),
    message:
        "report: {wildcards.experiment} on one page"
    shell:
        "posterity report {params.file:q} --table {input.table:q} --verdict {input.verdict:q}"
        " --figure {input.figures:q} --output {output:q} > {log:q} 2>&1"


rule reports:
    input:
        expand("results/{experiment}/report.html", experiment=ASKED),
    localrule: True
