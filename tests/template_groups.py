"""Prints the number of drain3's cluster for each line of standard input: the oracle of src/compress/miner.rs."""

import sys

from drain3 import TemplateMiner

miner = TemplateMiner()
lines = [line.rstrip("\n") for line in sys.stdin]
for line in lines:
    miner.add_log_message(line)
# Clusters change while lines come in: where a line belongs is asked when all are known.
for line in lines:
    found = miner.match(line)
    print(found.cluster_id if found else 0)
