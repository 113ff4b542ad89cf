#!/bin/sh
# How mpirun reaches the other nodes.
exec ssh -p 2222 -i "$AZ_BATCH_TASK_WORKING_DIR/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes "$@"
