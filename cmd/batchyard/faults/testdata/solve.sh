# Runs the program on all nodes, one process each.
set -eu
n=$(echo "$AZ_BATCH_HOST_LIST" | tr , '\n' | wc -l)
exec mpirun --allow-run-as-root -np "$n" --host "$AZ_BATCH_HOST_LIST" --map-by node -wdir "$AZ_BATCH_TASK_SHARED_DIR" \
  --mca plm_rsh_agent "$AZ_BATCH_TASK_SHARED_DIR/ssh.sh" --mca oob_tcp_if_include eth0 --mca btl tcp,self --mca btl_tcp_if_include eth0 \
  "$AZ_BATCH_TASK_SHARED_DIR/ring"
