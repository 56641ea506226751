#!/bin/sh
# Says how a job of PBS fares, for Snakemake: running, success or failed. The argument is its number.
job=$(qstat -x -f "$1")
case $? in
  0) ;;
  # Nobody knows it any more.
  153) echo failed && exit ;;
  # A server that does not answer is asked again.
  *) echo running && exit ;;
esac
state=$(printf '%s\n' "$job" | sed -n 's/^ *job_state = //p')
status=$(printf '%s\n' "$job" | sed -n 's/^ *[Ee]xit_status = //p')
case $state in
  C | F | X) if [ "$status" = 0 ]; then echo success; else echo failed; fi ;;
  *) echo running ;;
esac
