#!/usr/bin/env bash
# A Slurm with accounting on one host, for tests:  cluster.sh up | down
#
# Four nodes with two GPUs each, which are links to devices that all machines have, so that any can play a GPU cluster;
# nodes claim cores and memory that the host need not have. Partitions: `gpu`, the default, and `urgent`, which preempts it by requeueing.
#
#   apt-get install -y --no-install-recommends slurm-wlm slurmdbd mariadb-server munge      (Debian 12, as root)
#
# All state lives in one folder, with keys, a database and ports of its own; `down` removes it. Only
# /etc/slurm/slurm.conf is outside, a link: the job steps of Snakemake's plugin forget SLURM_CONF.
set -euo pipefail

readonly folder=/var/lib/posterity-slurm link=/etc/slurm/slurm.conf
readonly database_port=13306
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin:/sbin

wait_for() {  # seconds, what, command...
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || { echo "cluster.sh: $what did not come up; see the logs in $folder" >&2; exit 1; }
    sleep 0.2
  done
}

database() { mariadb --no-defaults --socket="$folder/database.sock" "$@"; }

idle() { [ "$(sinfo --noheader --Node --partition gpu --format %T | sort -u)" = idle ]; }

healthy() { [ "$(readlink $link)" = "$SLURM_CONF" ] && scontrol ping && sacctmgr --noheader list cluster && idle; }

settings() {
  cat >"$folder/slurmdbd.conf" <<END
AuthType=auth/munge
AuthInfo=socket=$folder/munge.sock
DbdHost=localhost
DbdPort=16819
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$database_port
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
LogFile=$folder/slurmdbd.log
PidFile=$folder/slurmdbd.pid
END
  chmod 600 "$folder/slurmdbd.conf"

  # Tests wait for the scheduler: it looks every second. Jobs may be requeued, and the comment, in which Snakemake
  # writes the rule, is stored. Nodes are taken at their word (config_overrides); nothing binds jobs to cores. Who takes
  # more memory than it asked for is killed.
  cat >"$SLURM_CONF" <<END
ClusterName=posterity
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.sock
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=2
ReturnToService=2
GresTypes=gpu
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=16819
AccountingStoragePass=$folder/munge.sock
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
NodeName=node[1-4] NodeAddr=127.0.0.1 NodeHostname=$(hostname -s) Port=[17001-17004] CPUs=4 RealMemory=32000 Gres=gpu:2
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=2
END

  ln -s /dev/null "$folder/gpu0"
  ln -s /dev/zero "$folder/gpu1"
  echo "NodeName=node[1-4] Name=gpu File=$folder/gpu[0-1]" >"$folder/gres.conf"
}

up() {
  if healthy >/dev/null 2>&1; then return; fi
  if [ -e $link ] && [ "$(readlink $link)" != "$SLURM_CONF" ]; then
    echo "cluster.sh: $link belongs to another Slurm: this is no machine for the test cluster" >&2
    exit 1
  fi
  down
  mkdir -p "$folder/state" "$folder"/node{1..4} "$(dirname $link)"
  chmod 755 "$folder"
  settings
  ln -s "$SLURM_CONF" $link

  mungekey --create --keyfile="$folder/munge.key"
  munged --socket="$folder/munge.sock" --key-file="$folder/munge.key" --pid-file="$folder/munge.pid" \
    --log-file="$folder/munge.log" --seed-file="$folder/munge.seed"

  mariadb-install-db --no-defaults --user=root --datadir="$folder/database" --auth-root-authentication-method=socket \
    --skip-test-db >"$folder/database-install.log" 2>&1
  setsid mariadbd --no-defaults --user=root --datadir="$folder/database" --socket="$folder/database.sock" \
    --pid-file="$folder/database.pid" --bind-address=127.0.0.1 --port=$database_port \
    --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 >"$folder/database.log" 2>&1 </dev/null &
  wait_for 60 "the database" database --execute "select 1"
  database --execute "create database slurm; create user slurm@'127.0.0.1' identified by 'slurm';
    create user slurm@localhost identified by 'slurm';
    grant all on slurm.* to slurm@'127.0.0.1'; grant all on slurm.* to slurm@localhost"

  slurmdbd
  wait_for 60 slurmdbd sacctmgr --noheader list cluster
  slurmctld
  for node in node{1..4}; do slurmd -N $node; done
  wait_for 60 Slurm idle
}

down() {
  [ -d $folder ] || return 0
  if scontrol ping >/dev/null 2>&1; then
    scancel --user=root 2>/dev/null || true
    for _ in $(seq 50); do [ -z "$(squeue --noheader 2>/dev/null)" ] && break; sleep 0.2; done
  fi
  # In this order each can still tell the next what it knows.
  for daemon in node{1..4} slurmctld slurmdbd database munge; do stop "$folder/$daemon.pid"; done
  if [ "$(readlink $link)" = "$SLURM_CONF" ]; then rm $link; fi
  rm -rf $folder
}

stop() {  # the process of a pid file, if it is there
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -KILL "$pid" 2>/dev/null || true
}

case ${1:-} in
  up | down) "$1" ;;
  *) echo "usage: cluster.sh up | down" >&2; exit 2 ;;
esac
