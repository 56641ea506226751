"""Snakemake once more, as it was called, for other targets and with what failed in the configuration.

Arguments: the targets and what failed, in JSON, then those that Snakemake was called with.
"""

import json
import sys

from snakemake.cli import args_to_api, parse_args

targets, lost, *arguments = sys.argv[1:]
parser, args = parse_args(arguments)
args.targets = json.loads(targets)
args.config = [*(args.config or []), f"lost={lost}"]
# The first pass holds Snakemake's lock, and has done over what it was told to.
args.nolock = True
args.force = args.forceall = False
args.forcerun = set()
sys.exit(0 if args_to_api(args, parser) else 1)
